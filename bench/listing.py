"""Listing many backups that have manifests, beside a bare loop that reads the same: it may take twice as long.

Run with a directory as its argument, it is the process that is measured: it lists that directory once.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding
from ansible_collections.lastgood.database.plugins.module_utils._metadata import names
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import PRODUCER, Manifest
from ansible_collections.lastgood.database.plugins.module_utils._operations.inventory import InventoryRequest, inventory
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.contexts import context_at
from bench.measure import Case, compare

DATABASES = 50
COUNTS = (10_000, 100_000)
SCANDIR = "import os, sys; print(len([entry.stat(follow_symlinks=False) for entry in os.scandir(sys.argv[1])]))"
LOOP = """
import json, os, sys
for entry in os.scandir(sys.argv[1]):
    entry.stat(follow_symlinks=False)
    if entry.name.endswith(".manifest.json"):
        with open(entry.path, "rb") as file:
            json.loads(file.read())
"""
NOTHING = "import bench.listing"


def listing() -> None:
    """Print the row."""
    for count in COUNTS:
        with tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as directory:
            fill(Path(directory), count)
            compare(
                f"Listing {count} backups of {DATABASES} databases",
                {
                    "backup_facts": Case([sys.executable, "-m", "bench.listing", directory]),
                    "its imports alone": Case([sys.executable, "-c", NOTHING]),
                    "bare scandir and stat": Case([sys.executable, "-c", SCANDIR, directory]),
                    "bare scandir, stat, read, json.loads": Case([sys.executable, "-c", LOOP, directory]),
                },
            )


def fill(directory: Path, count: int) -> None:
    """Make a directory of backups, an hour apart for each database."""
    for number in range(count):
        database = f"app{number % DATABASES}"
        created_at = datetime(2020, 1, 1, tzinfo=timezone.utc) + timedelta(hours=number // DATABASES)
        payload = names.compose(names.label_for("database", database), created_at, Encoding("gzip"))
        (directory / payload).write_bytes(b"")
        (directory / names.manifest_name(payload)).write_bytes(manifest(database, created_at).to_bytes())


def manifest(database: str, created_at: datetime) -> Manifest:
    return Manifest(
        manifest_version=1,
        producer=PRODUCER,
        kind="database",
        origin="db1.example.org",
        engine="postgresql",
        server_version="18.4",
        tool="pg_dump 18.4",
        major_mismatch=False,
        instance="7300000000000000000",
        database=database,
        source="/run/postgresql:5432",
        format="custom",
        compression="gzip",
        compressor="isal 1.8.0",
        encrypted=False,
        created_at=created_at,
        finished_at=created_at,
        confirmed_at=created_at,
        payload_bytes=0,
        payload_sha256=hashlib.sha256(b"").hexdigest(),
        content_bytes=0,
        content_sha256="0" * 64,
    )


if __name__ == "__main__":
    outcome = inventory(InventoryRequest(LocalStore(sys.argv[1])), context_at(lambda: datetime.now(timezone.utc)))
    facts = outcome.values["ansible_facts"]["database_backups"]
    print(facts["count"], facts["databases"][0]["newest_good"])

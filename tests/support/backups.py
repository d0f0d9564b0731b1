"""Backups for tests: a payload, and a manifest that matches it unless a test sets other values."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    compose,
    label_for,
    manifest_name,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
PAYLOAD = b"what pg_dump said"


def ago(**duration: float) -> datetime:
    """Return the time that long before ``NOW``, as in ``ago(days=2)``."""
    return NOW - timedelta(**duration)


def manifest_of(data: bytes = PAYLOAD, **over: Any) -> Manifest:
    """Return a manifest with every field, of a good backup with that payload."""
    digest = hashlib.sha256(data).hexdigest()
    created_at = over.get("created_at", ago(days=1))
    fields: dict[str, Any] = {
        "manifest_version": 1,
        "producer": "lastgood.database",
        "kind": "database",
        "origin": "db1",
        "engine": "postgresql",
        "server_version": "16.4",
        "tool": "pg_dump 16.4",
        "major_mismatch": False,
        "instance": "7300000000000000001",
        "database": "app",
        "source": "/run/postgresql:5432",
        "partial": False,
        "partial_arguments": None,
        "format": "custom",
        "compression": "gzip",
        "compressor": "zlib",
        "encrypted": False,
        "encryption": None,
        "created_at": created_at,
        "finished_at": created_at,
        "confirmed_at": created_at,
        "payload_bytes": len(data),
        "payload_sha256": digest,
        "content_bytes": len(data),
        "content_sha256": digest,
        "verification": None,
    }
    return Manifest(**{**fields, **over})


def put_backup(folder: Path, created_at: datetime, data: bytes = PAYLOAD, **over: Any) -> str:
    """Put a good backup into a folder, and return its file name. Further values go into the manifest."""
    manifest = manifest_of(data, **{"created_at": created_at, **over})
    label = label_for("globals" if manifest.kind == "globals" else "database", manifest.database)
    name = compose(label, created_at, Encoding(over.get("compression", "gzip")))
    put_payload(folder, name, data)
    (folder / manifest_name(name)).write_bytes(manifest.to_bytes())
    return name


def put_payload(folder: Path, name: str, data: bytes = PAYLOAD, modified_at: datetime = NOW) -> str:
    """Put a payload that has no manifest into a folder, and return its name."""
    path = folder / name
    path.write_bytes(data)
    os.utime(path, (modified_at.timestamp(), modified_at.timestamp()))
    return name

"""Dumping a database of PostgreSQL 18 with each encryption, compared with the same dump without encryption."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ansible_collections.lastgood.database.tests.support.encryption_keys import age_key, gpg_keys
from bench.dumping import ROWS, ROWS_OF_A_GIGABYTE, Place
from bench.measure import compare
from tools.throwaway_postgresql import Server, installation


def encrypting() -> None:
    """Print the rows."""
    with Server.start(installation(18)) as server, tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        place, keyring = Place(server, Path(folder)), Path(folder) / "keyring"
        server.create_database("app")
        server.psql(ROWS.format(count=ROWS_OF_A_GIGABYTE), "app")
        age = {"encryption": "age", "recipients": [age_key(Path(folder), "identity").recipient]}
        with gpg_keys() as keys:
            keyring.write_bytes(keys.public("bench"))
        cases = {
            "db_backup, age by pyrage": place.backup("app", **age),
            "db_backup, age by the program": place.backup("app", environment=place.without("pyrage"), **age),
            "db_backup, gpg": place.backup("app", encryption="gpg", recipients_file=str(keyring)),
            "db_backup without encryption": place.backup("app"),
        }
        compare("Dumping 1 GB with encryption", cases, rounds=3)

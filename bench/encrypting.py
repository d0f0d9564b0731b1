"""Dumping a gigabyte of SQL from PostgreSQL 18 with each encryption, and restoring it, beside the same without encryption."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ansible_collections.lastgood.database.tests.support.encryption_keys import age_key, gpg_key
from bench import dumping, restoring
from bench.measure import compare
from bench.restoring import SOURCE, make_source
from tools.throwaway_postgresql import Server, installation


def encrypting() -> None:
    """Print the rows."""
    with Server.start(installation(18)) as server, tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        make_source(server)
        keyring = Path(folder) / "keyring"
        keyring.write_text(gpg_key().public)
        age = {"encryption": "age", "recipients": [age_key().public]}
        gpg = {"encryption": "gpg", "recipients_file": str(keyring)}
        place = dumping.Place(server, Path(folder))
        no_pyrage = place.without("pyrage")
        dumps = {
            "db_backup, age by pyrage": place.backup(SOURCE, **age),
            "db_backup, age by the program": place.backup(SOURCE, environment=no_pyrage, **age),
            "db_backup, gpg": place.backup(SOURCE, **gpg),
            "db_backup without encryption": place.backup(SOURCE),
        }
        compare("Dumping 1 GB with encryption", dumps, rounds=3)
        restore = restoring.Place(server, Path(folder)).restore
        restores = {
            "db_restore, age by pyrage": restore(age, identity=age_key().secret),
            "db_restore, age by the program": restore(age, environment=no_pyrage, identity=age_key().secret),
            "db_restore, gpg": restore(gpg, identity=gpg_key().secret),
            "db_restore without encryption": restore({}),
        }
        compare("Restoring 1 GB that is encrypted", restores, rounds=3)

"""Verifying a backup of a gigabyte of SQL, at each level, beside a digest of the file and a restore by PostgreSQL itself."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import LEVELS
from bench.dumping import ROWS, ROWS_OF_A_GIGABYTE
from bench.measure import Case, compare, run
from bench.peers import ours
from tools.throwaway_postgresql import Server, installation


def verifying() -> None:
    """Print the row."""
    with Server.start(installation(18)) as server, tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        server.create_database("source")
        server.psql(ROWS.format(count=ROWS_OF_A_GIGABYTE), "source")
        top = Path(folder)
        where = {"directory": str(top / "backups"), "bin_directory": str(server.bin_directory)}
        login = {"login_unix_socket": str(server.socket_directory), "login_port": server.port, "login_user": server.user}
        run(ours("db_backup", top, databases=["source"], **where, **login))
        [payload] = (top / "backups").glob("*.gz")
        restore = f'dropdb --if-exists restored; createdb restored; zcat "{payload}" | pg_restore --dbname restored'
        environment = {**server.environment, "PATH": f"{server.bin_directory}:{os.environ['PATH']}"}
        compare(
            "Verifying 1 GB of SQL, custom, gzip",
            {
                **{f"backup_verify, {level}": ours("backup_verify", top, level=level, **where) for level in LEVELS},
                "sha256sum": Case(["sha256sum", str(payload)]),
                "zcat | pg_restore": Case(["sh", "-c", restore], environment),
            },
            rounds=3,
        )

"""Restoring a gigabyte of SQL to PostgreSQL 18, beside PostgreSQL's own programs and the community's module.

What is compared with is pg_restore -j2 of an archive that pg_dump wrote to a file itself, and so could note where each table is.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import os
import tempfile
import typing as t
from pathlib import Path

from bench.dumping import ROWS, ROWS_OF_A_GIGABYTE
from bench.measure import Case, compare, run
from bench.peers import ours, theirs
from tools.throwaway_postgresql import Server, installation

SOURCE = "source"
TABLES = 4  # or parallel jobs would have nothing to share


def restoring() -> None:
    """Print the rows."""
    with Server.start(installation(18)) as server, tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        make_source(server)
        place = Place(server, Path(folder))
        compare("Restoring 1 GB of SQL", place.cases(), rounds=3)


def make_source(server: Server) -> None:
    """Make the database that is backed up, of some 1 GB."""
    server.create_database(SOURCE)
    for number in range(TABLES):
        table = ROWS.format(count=ROWS_OF_A_GIGABYTE // TABLES).replace("table orders", f"table orders{number}")
        server.psql(f"{table}; alter table orders{number} add primary key (id)", SOURCE)


@dataclasses.dataclass(frozen=True)
class Place:
    """A server, and a folder for what was dumped from it."""

    server: Server
    folder: Path

    def cases(self) -> dict[str, Case]:
        """Return each way to restore; each into a database that was not there."""
        native, sql = self.folder / "native.dump", self.folder / "dump.sql.gz"
        self._make(f'pg_dump --dbname {SOURCE} -Fc --file "{native}"')
        self._make(f'pg_dump --dbname {SOURCE} | gzip > "{sql}"')
        return {
            "db_restore, custom, gzip": self.restore({"format": "custom", "compression": "gzip"}),
            "db_restore, custom, zstd": self.restore({"format": "custom", "compression": "zstd"}),
            "db_restore, custom, none": self.restore({"format": "custom", "compression": "none"}),
            "db_restore, custom, gzip, one job": self.restore({"format": "custom", "compression": "gzip"}, jobs=1),
            "db_restore, plain, gzip": self.restore({"format": "plain", "compression": "gzip"}),
            "zcat | psql": self._shell(f'zcat "{sql}" | psql -X -q -v ON_ERROR_STOP=1 --dbname restored > /dev/null'),
            "postgresql_db, plain, gzip": self._theirs(sql),
            "pg_restore -j2 of a native archive": self._shell(f'pg_restore -j2 --dbname restored "{native}"'),
        }

    def restore(
        self, backup: t.Mapping[str, t.Any], *, environment: t.Mapping[str, str] | None = None, jobs: int = 2, **more: t.Any
    ) -> Case:
        """Make a backup with these options, and return a restore of it."""
        options = {
            "directory": tempfile.mkdtemp(dir=self.folder),
            "login_unix_socket": str(self.server.socket_directory),
            "login_port": self.server.port,
            "login_user": self.server.user,
            "bin_directory": str(self.server.bin_directory),
        }
        run(ours("db_backup", self.folder, databases=[SOURCE], **backup, **options))
        restored = {"database": "restored", "source_database": SOURCE, "jobs": jobs, **more}
        case = ours("db_restore", self.folder, environment=environment, **restored, **options)
        return dataclasses.replace(case, prepare=self._drop)

    def _theirs(self, sql: Path) -> Case:
        """Return the community's module, which restores into a database that is there."""
        case = theirs(
            "community.postgresql.postgresql_db",
            self.folder,
            environment=self.environment,
            name="restored",
            state="restore",
            target=str(sql),
            login_unix_socket=str(self.server.socket_directory),
            login_user=self.server.user,
        )
        return dataclasses.replace(case, prepare=self._make_empty)

    def _shell(self, script: str) -> Case:
        return Case(["/bin/sh", "-euc", script], self.environment, prepare=self._make_empty)

    def _make(self, script: str) -> None:
        run(Case(["/bin/sh", "-euc", script], self.environment))

    def _drop(self) -> None:
        self.server.psql("drop database if exists restored with (force)")
        self.server.psql("checkpoint")

    def _make_empty(self) -> None:
        self._drop()
        self.server.psql("create database restored template template0")

    @property
    def environment(self) -> dict[str, str]:
        return {**self.server.environment, "PATH": f"{self.server.bin_directory}:{os.environ['PATH']}"}

"""Dumping databases of PostgreSQL 18, beside PostgreSQL's own programs and the community's module.

The floor is pg_dump that compresses nothing and stores nothing.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._background import VARIABLE
from bench.measure import Case, compare
from bench.peers import ours, theirs
from tools.throwaway_postgresql import Server, installation

# Some 137 bytes of a plain dump each: text that repeats itself and text that does not, numbers, times.
ROWS = """
create table orders as select n as id, md5(n::text) as customer, 'Order ' || n || ', to ' || (n % 997) || ' Main Street' as note,
timestamptz '2026-01-01' + n * interval '1 second' as at, (n * 37 % 100000) / 100.0 as total, n % 5 as state
from generate_series(1, {count}) n
"""
ROWS_OF_A_GIGABYTE = 7_500_000
DATABASES = 200


def dumping() -> None:
    """Print the rows."""
    with Server.start(installation(18)) as server, tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        place = Place(server, Path(folder))
        for title, count in (("100 MB", ROWS_OF_A_GIGABYTE // 10), ("1 GB", ROWS_OF_A_GIGABYTE)):
            server.create_database(title)
            server.psql(ROWS.format(count=count), title)
            compare(f"Dumping {title} of SQL", place.cases(title), rounds=3)
        compare("Dumping 1 GB that has not changed", place.unchanged("1 GB"), rounds=3)
        compare("Dumping 1 GB in the background of a play", place.in_the_background("1 GB"))
        for number in range(DATABASES):
            server.psql(f'create database small{number} template "template0" strategy file_copy')
        compare(f"Dumping {DATABASES} small databases", place.many([f"small{number}" for number in range(DATABASES)]), rounds=3)


@dataclasses.dataclass(frozen=True)
class Place:
    """A server, and a folder for what is dumped from it."""

    server: Server
    folder: Path

    def cases(self, database: str) -> dict[str, Case]:
        """Return each way to dump a database; those of ours make a backup every time."""
        no_isal = self.without("isal")
        no_pigz = {**no_isal, "PATH": str(self._folder("no-programs"))}
        dump = f'pg_dump --dbname "{database}"'
        target = self._folder("theirs") / "dump.sql.gz"
        return {
            "db_backup, gzip by python-isal": self.backup(database),
            "db_backup, gzip by python-isal, without blake3": self.backup(database, environment=self.without("blake3")),
            "db_backup, gzip by pigz": self.backup(database, environment=no_isal),
            "db_backup, gzip by zlib": self.backup(database, environment=no_pigz),
            "db_backup, zstd": self.backup(database, compression="zstd"),
            "db_backup, none": self.backup(database, compression="none"),
            "pg_dump -Fc": self._shell(f'{dump} -Fc --file "$0"'),
            "pg_dump | gzip": self._shell(f'{dump} | gzip > "$0"'),
            "pg_dump | pigz": self._shell(f'{dump} | pigz > "$0"'),
            "postgresql_db, with pigz": theirs(
                "community.postgresql.postgresql_db",
                self.folder,
                environment=self.server.environment | {"PATH": self._path()},
                name=database,
                state="dump",
                target=str(target),
                login_unix_socket=str(self.server.socket_directory),
                login_user=self.server.user,
            ),
            "floor: pg_dump -Fc -Z0 > /dev/null": self._shell(f"{dump} -Fc -Z0 > /dev/null"),
        }

    def unchanged(self, database: str) -> dict[str, Case]:
        """Return a run that stores nothing, beside one that stores a backup."""
        kept = self._directory()
        return {
            "db_backup, changed": self.backup(database),
            "db_backup, unchanged": self._module(kept, databases=[database]),
            "floor: pg_dump -Fc -Z0 > /dev/null": self._shell(f'pg_dump --dbname "{database}" -Fc -Z0 > /dev/null'),
        }

    def in_the_background(self, database: str) -> dict[str, Case]:
        """Return a run that reports its progress to an action plugin, beside one that does not."""
        plain = self.backup(database)
        reporting = dataclasses.replace(plain, environment={**plain.environment, VARIABLE: f"86400 {secrets.token_hex(16)}"})
        return {"db_backup, reporting its progress": reporting, "db_backup": plain}

    def many(self, databases: list[str]) -> dict[str, Case]:
        """Return runs over many databases, one at a time and two."""
        each = " ".join(databases)
        return {
            "db_backup": self._emptied(databases=databases, skip_unchanged=False),
            "db_backup, 2 at a time": self._emptied(databases=databases, skip_unchanged=False, parallel_databases=2),
            "db_backup, unchanged": self._module(self._directory(), databases=databases),
            "for each: pg_dump -Fc": self._shell(f'for each in {each}; do pg_dump --dbname "$each" -Fc --file "$0"; done'),
        }

    def backup(self, database: str, **options: t.Any) -> Case:
        """Return a run that makes a backup every time."""
        return self._emptied(databases=[database], skip_unchanged=False, **options)

    def without(self, library: str) -> dict[str, str]:
        """Return an environment in which Python does not find a library."""
        folder = self._folder(f"without-{library}")
        (folder / f"{library}.py").write_text("raise ImportError\n")
        return {"PYTHONPATH": f"{folder}:{os.environ['PYTHONPATH']}"}

    def _emptied(self, **options: t.Any) -> Case:
        """Return a run into a directory that is empty each time: the disk would fill up."""
        directory = self._directory()
        case = self._module(directory, **options)
        return dataclasses.replace(case, prepare=lambda: shutil.rmtree(directory, ignore_errors=True))

    def _module(self, directory: Path, **options: t.Any) -> Case:
        return ours(
            "db_backup",
            self.folder,
            directory=str(directory),
            login_unix_socket=str(self.server.socket_directory),
            login_user=self.server.user,
            bin_directory=str(self.server.bin_directory),
            **options,
        )

    def _shell(self, script: str) -> Case:
        """Return a script, which finds the file to write as ``$0``."""
        return Case(["sh", "-c", script, str(self._folder("scripts") / "dump")], self.server.environment | {"PATH": self._path()})

    def _path(self) -> str:
        return f"{self.server.bin_directory}:{os.environ['PATH']}"

    def _directory(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

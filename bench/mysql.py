"""Dumping, restoring and verifying a database of MariaDB, compared with its own programs and mydumper.

The floor is mariadb-dump that stores nothing. MYSQL_ROWS=750000 makes a tenth of the gigabyte.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import LEVELS
from bench.measure import Case, compare, run
from bench.peers import ours, theirs
from tools.throwaway_mysql import Server, find_mariadb

# Some 135 bytes of SQL each, as in the rows of PostgreSQL.
ROWS = """
create table orders (id int primary key, customer char(32), note varchar(60), at datetime, total decimal(10, 2), state int);
insert into orders select seq, md5(seq), concat('Order ', seq, ', to ', seq % 997, ' Main Street'),
    timestamp '2026-01-01 00:00:00' + interval seq second, (seq * 37 % 100000) / 100, seq % 5 from seq_1_to_{count};
"""
ROWS_OF_A_GIGABYTE = 7_500_000
_DUMP = "--single-transaction --quick --routines --events --triggers --hex-blob source"


def mysql() -> None:
    """Print the rows."""
    installation = find_mariadb()
    if installation is None or shutil.which("mydumper") is None:
        sys.exit("bench: MariaDB or mydumper is missing (apt install mariadb-server mydumper)")
    count = int(os.environ.get("MYSQL_ROWS", ROWS_OF_A_GIGABYTE))
    megabytes = count * 1000 // ROWS_OF_A_GIGABYTE
    with Server.start(installation) as server, tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        server.sql("create database source")
        server.sql(ROWS.format(count=count), "source")
        place = _Place(server, Path(folder))
        compare(f"Dumping {megabytes} MB of MariaDB's SQL", place.dumps(), rounds=3)
        compare(f"Restoring {megabytes} MB of MariaDB's SQL", place.restores())
        compare(f"Verifying {megabytes} MB of MariaDB's SQL", place.verifications())


@dataclasses.dataclass(frozen=True)
class _Place:
    """A server with the database ``source``, and a folder for its dumps."""

    server: Server
    folder: Path

    def dumps(self) -> dict[str, Case]:
        """Return each way to dump; ours makes a backup every time."""
        directory = self.folder / "emptied"
        case = self._ours("db_backup", directory, databases=["source"], skip_unchanged=False)
        many, where = self.folder / "mydumper", f"--socket={self.server.socket} --user={self.server.user}"
        return {
            "db_backup, gzip": dataclasses.replace(case, prepare=lambda: shutil.rmtree(directory, ignore_errors=True)),
            "mariadb-dump | gzip": self._shell(f'$dump {_DUMP} | gzip > "$0/dump.sql.gz"'),
            "mariadb-dump | pigz": self._shell(f'$dump {_DUMP} | pigz > "$0/dump.sql.gz"'),
            "mydumper --compress, 2 threads": dataclasses.replace(
                self._shell(f'mydumper {where} --database=source --compress --threads=2 --outputdir="{many}"'),
                prepare=lambda: shutil.rmtree(many, ignore_errors=True),
            ),
            "mysql_db, gzip": theirs(
                "ansible.mysql.mysql_db",
                self.folder,
                name="source",
                state="dump",
                target=str(self.folder / "theirs.sql.gz"),
                single_transaction=True,
                login_unix_socket=str(self.server.socket),
                login_user=self.server.user,
                config_file="",
            ),
            "floor: mariadb-dump > /dev/null": self._shell(f"$dump {_DUMP} > /dev/null"),
        }

    def restores(self) -> dict[str, Case]:
        """Return each way to restore into a database that does not exist."""
        directory = self.folder / "backups"
        run(self._ours("db_backup", directory, databases=["source"]))
        [payload] = directory.glob("*.gz")
        ours_ = self._ours("db_restore", directory, database="restored", source_database="source")
        return {
            "db_restore": dataclasses.replace(ours_, prepare=self._drop),
            "zcat | mariadb": dataclasses.replace(
                self._shell(f'zcat "{payload}" | $client restored'), prepare=lambda: self._drop("create database restored")
            ),
        }

    def verifications(self) -> dict[str, Case]:
        """Return a verification at each level."""
        where = {"directory": str(self.folder / "backups")}
        return {f"backup_verify, {level}": ours("backup_verify", self.folder, level=level, **where) for level in LEVELS}

    def _drop(self, then: str = "do 0") -> None:
        self.server.sql(f"drop database if exists restored; {then}")

    def _ours(self, module: str, directory: Path, **options: t.Any) -> Case:
        login = {"login_unix_socket": str(self.server.socket), "login_user": self.server.user}
        return ours(module, self.folder, engine="mysql", directory=str(directory), **login, **options)

    def _shell(self, script: str) -> Case:
        """Return a script, which finds the folder as ``$0``."""
        login = f"--no-defaults --socket={self.server.socket} --user=root"
        programs = f'dump="mariadb-dump {login}"; client="mariadb {login}"; '
        return Case(["sh", "-c", programs + script, str(self.folder)], {"PATH": os.environ["PATH"]})

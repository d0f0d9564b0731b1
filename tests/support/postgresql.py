"""A PostgreSQL server for tests: the modules' login, a database to change, and restores by PostgreSQL's own programs."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.tests.support.modules import (
    OURSELVES,
    Host,
    ModuleProcess,
    Outcome,
    run_module,
    running_module,
)
from tools.throwaway_postgresql import Server, find_installations

VERSIONS = sorted({one.major for one in find_installations()})
every_version = pytest.mark.parametrize("server", VERSIONS, indirect=True, ids=[f"pg{major}" for major in VERSIONS])

PASSWORD = 'c0l:on \\ back\'slash "quo:ted" %41 $HOME'

# One of each object that may get lost.
CONTENT = """
create table item (id int primary key, body text, raw bytea, at timestamptz, many numeric[]);
insert into item select n, 'line '||n||E'\\n\\\\. \\t "double" ''single'' \u00e9\u4e16\u754c', decode(md5(n::text), 'hex'),
    timestamptz '2026-01-31 01:02:03.456789+00' + n * interval '1 day', array[n, n / 3.0] from generate_series(1, 200) n;
insert into item values (1000, null, null, 'infinity', '{}'), (1001, '', '', null, null);
create table "empty ""one" (nothing int);
create view items as select id, body from item;
create sequence counter start 41; select nextval('counter');
create index on item (at) where id > 5;
create function half(n int) returns int language sql as $$ select n / 2 $$;
select lo_from_bytea(7777, '\\x00ff10');
comment on table item is 'it''s; a \\ comment';
"""

_numbers = itertools.count(1)


class Site(NamedTuple):
    """A database, and the directory where its backups go."""

    server: Server
    database: str
    directory: Path

    def options(self, **over: Any) -> dict[str, Any]:
        return {"directory": str(self.directory), "databases": [self.database], **login(self.server), **over}

    def back_up(self, *, host: Host = OURSELVES, check: bool = False, diff: bool = False, **over: Any) -> Outcome:
        return run_module("db_backup", host=host, check=check, diff=diff, **self.options(**over))

    def backing_up(self, *, host: Host = OURSELVES, **over: Any) -> contextlib.AbstractContextManager[ModuleProcess]:
        return running_module("db_backup", host=host, **self.options(**over))

    def facts(self, **options: Any) -> dict[str, Any]:
        return facts_of(self.directory, **options)

    def sql(self, text: str) -> str:
        return self.server.psql(text, self.database)

    def grow(self, megabytes: int) -> None:
        """Add data that no compressor makes smaller."""
        self.sql(
            f"create table if not exists noise (raw text); insert into noise select string_agg(md5(random()::text), '')"
            f" from generate_series(1, {megabytes * 32768}) n group by n / 32"
        )


def facts_of(directory: Path, **options: Any) -> dict[str, Any]:
    """Return a directory's backup_facts."""
    facts = run_module("backup_facts", directory=str(directory), **options).result["ansible_facts"]["database_backups"]
    assert isinstance(facts, dict)
    return facts


def login(server: Server, **over: Any) -> dict[str, Any]:
    """Return a module's options to reach a server."""
    return {
        "login_unix_socket": str(server.socket_directory),
        "login_port": server.port,
        "login_user": server.user,
        "bin_directory": str(server.bin_directory),
        **over,
    }


@contextlib.contextmanager
def database_on(server: Server, name: str | None = None, sql: str = "create table t as select 1 as n") -> Iterator[str]:
    """Make a database, and drop it in the end."""
    name = name or f"app{next(_numbers)}"
    server.create_database(name)
    try:
        server.psql(sql, name)
        yield name
    finally:
        drop(server, name)


def drop(server: Server, name: str) -> None:
    quoted = name.replace('"', '""')
    server.psql(f'drop database if exists "{quoted}" with (force)')


def dump_of(server: Server, database: str) -> str:
    """Return a database as pg_dump's SQL, without the parts that differ from dump to dump."""
    text = server.run("pg_dump", database=database).stdout
    return re.sub(r"^\\(?:un)?restrict .*\n", "", text, flags=re.MULTILINE)


def restore(server: Server, payload: Path, *, into: str) -> None:
    """Restore an archive as an operator without this collection would."""
    _shell(server, f'{_unpack(payload)} "$1" | pg_restore --exit-on-error -d "$2"', str(payload), into)


def restore_plain(server: Server, payload: Path, *, into: str, stop_on_error: bool = True) -> None:
    """Restore SQL as an operator without this collection would."""
    load = f"psql -X -q -v ON_ERROR_STOP={int(stop_on_error)} -d"
    _shell(server, f'{_unpack(payload)} "$1" | {load} "$2" >/dev/null', str(payload), into)


def _unpack(payload: Path) -> str:
    return {".gz": "zcat", ".zst": "zstd -dc"}.get(payload.suffix, "cat")


def _shell(server: Server, script: str, *arguments: str) -> None:
    environment = server.environment
    done = subprocess.run(
        ("/bin/sh", "-euc", script, "sh", *arguments),
        env={**environment, "PATH": f"{server.bin_directory}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

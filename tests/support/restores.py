"""Tools for tests of restores to PostgreSQL: start one, and assert what it must not change."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2

from ansible_collections.lastgood.database.tests.support.impostor import Impostor
from ansible_collections.lastgood.database.tests.support.modules import Host, ModuleProcess, Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import contents, wait_until
from ansible_collections.lastgood.database.tests.support.postgresql import Site, drop, dump_of, login
from tools.throwaway_postgresql import Server


def options(site: Site, **over: Any) -> dict[str, Any]:
    return {"directory": str(site.directory), "database": site.database, **login(site.server), **over}


def restore(site: Site, *, host: Host | None = None, check: bool = False, diff: bool = False, **over: Any) -> Outcome:
    return run_module("db_restore", host=host or Host(), check=check, diff=diff, **options(site, **over))


def restoring(site: Site, **over: Any) -> contextlib.AbstractContextManager[ModuleProcess]:
    return running_module("db_restore", **options(site, **over))


def databases(server: Server) -> list[str]:
    return server.psql("select datname from pg_database where not datistemplate order by 1").splitlines()


@contextlib.contextmanager
def nothing_else_left(site: Site) -> Iterator[None]:
    """Drop the databases that the test leaves. Asserts that they are only copies and replaced ones."""
    before = databases(site.server)
    yield
    left = set(databases(site.server)) - set(before)
    for name in left:
        drop(site.server, name)
    assert left <= {name for name in left if "_replaced_" in name or name.startswith("copy")}, left


def oid_of(site: Site) -> str:
    return site.server.psql(f"select oid from pg_database where datname = '{site.database}'")


def at_work(server: Server) -> set[str]:
    """Return a server's sessions, and the programs that were started to connect to it."""
    sessions = "select pid, backend_start, datname, application_name from pg_stat_activity where backend_type = 'client backend'"
    found = set(server.psql(f"{sessions} and pid <> pg_backend_pid()").splitlines())
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended since
            command = (process / "cmdline").read_bytes()
            if os.fsencode(server.socket_directory) in command and b"--dbname=" in command:
                found.add(f"{process.name} {command!r}")
    return found


@contextlib.contextmanager
def as_it_was(site: Site) -> Iterator[None]:
    """Assert that the target, its content, the list of databases and the directory stay the same, and no session is left."""
    present = at_work(site.server)
    before = oid_of(site), dump_of(site.server, site.database), databases(site.server), contents(site.directory)
    yield
    wait_until(lambda: at_work(site.server) <= present)  # the server notices a program's end with a delay
    after = oid_of(site), dump_of(site.server, site.database), databases(site.server), contents(site.directory)
    assert after == before


@contextlib.contextmanager
def connected(site: Site, database: str | None = None, user: str = "postgres") -> Iterator[Any]:
    connection = psycopg2.connect(
        host=str(site.server.socket_directory),
        port=site.server.port,
        user=user,
        dbname=database or site.database,
        application_name="the shop",
    )
    with contextlib.closing(connection):
        yield connection


@contextlib.contextmanager
def held(
    site: Site, folder: Path, script: str = "", program: str = "pg_restore", **over: Any
) -> Iterator[tuple[ModuleProcess, Impostor]]:
    """Start a restore whose program begins to fill the new database, and waits for ``say("go")``."""
    wait = 'if any(one.startswith("--dbname") for one in arguments):\n    note("started"); wait_for("go")\n'
    impostor = Impostor(folder, site.server.bin_directory, f"{wait}{script}\ngo_on()", program=program)
    with restoring(site, bin_directory=str(impostor.bin_directory), **over) as process:
        impostor.wait_for("started", unless=lambda: process.ended)
        yield process, impostor
        impostor.say("go")


def remains(site: Site) -> list[str]:
    return [name for name in databases(site.server) if name.startswith(f"{site.database}_restoring_")]


@contextlib.contextmanager
def locked(site: Site) -> Iterator[Any]:
    """Hold a lock on the target by a transaction in another database."""
    with connected(site, "postgres") as holder:
        holder.cursor().execute(f"comment on database {site.database} is 'nobody takes my name away'")
        yield holder
        holder.rollback()

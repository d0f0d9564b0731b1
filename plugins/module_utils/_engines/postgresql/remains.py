"""Removes databases that a restore made or replaced, and what keeps them from being dropped: a template's flag, subscriptions.

A subscription is taken from its slot first. The slot is on the other server, for the database that took the old one's place.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import databases
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    connecting,
    execute,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.protections import protect_session
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError

if t.TYPE_CHECKING:
    import psycopg2.extensions

_IS_TEMPLATE = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s AND datistemplate"
_SUBSCRIPTIONS = """
SELECT s.subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = %s
"""


def sweep(connection: psycopg2.extensions.connection, login: Login) -> list[str]:
    """Remove what dead runs left. Return what to say of it: what can't be removed keeps nobody from restoring."""
    said = []
    for name in databases.remains(connection):
        try:
            remove(connection, login, name)
        except BackupError as error:
            said.append(
                f"The database {name}, which an interrupted restore left, could not be removed: {error.problem} "
                "Its owner or a superuser can drop it."
            )
        else:
            said.append(f"Removed the database {name}, which an interrupted restore left.")
    return said


@contextlib.contextmanager
def removing_after_failure(remove_all: t.Callable[[], str | None]) -> t.Iterator[None]:
    """Call ``remove_all`` if the work fails. The error stays what it is, and also says what ``remove_all`` could not remove."""
    try:
        yield
    except BaseException as error:
        left = remove_all()
        if left is not None and isinstance(error, BackupError):
            error.args = (f"{error} {left}", *error.args[1:])
        raise


def remove(connection: psycopg2.extensions.connection, login: Login, name: str) -> None:
    """Drop a database, with what keeps it from being dropped."""
    if not databases.exists(connection, name):
        return
    if query(connection, _IS_TEMPLATE, name):
        execute(connection, f"ALTER DATABASE {quote_identifier(name)} IS_TEMPLATE false")
    subscriptions = [quote_identifier(subscription) for (subscription,) in query(connection, _SUBSCRIPTIONS, name)]
    if subscriptions:
        execute(connection, f"ALTER DATABASE {quote_identifier(name)} ALLOW_CONNECTIONS true")
        with connecting(dataclasses.replace(login, database=name), readonly=False) as inside:
            protect_session(inside)
            for subscription in subscriptions:
                execute(inside, f"ALTER SUBSCRIPTION {subscription} DISABLE")
                execute(inside, f"ALTER SUBSCRIPTION {subscription} SET (slot_name = NONE)")
                execute(inside, f"DROP SUBSCRIPTION {subscription}")
    databases.drop(connection, name)

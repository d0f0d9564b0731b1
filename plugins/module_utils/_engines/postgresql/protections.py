"""Protects a restore from settings of a role, a database or a cluster that were made for applications.

A timeout ends a session that waits while others work; read-only transactions by default refuse all that a restore does. The
owner of a database chooses the schemas that are searched in it, and could put functions of their own before the server's.
What a session asks for when it starts wins over all of them.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login, connecting, query
from ansible_collections.lastgood.database.plugins.module_utils._errors import ConnectionFailed, QueryFailed

if t.TYPE_CHECKING:
    import psycopg2.extensions

# A server has those of its version: idle_session_timeout came with 14, transaction_timeout with 17.
_SETTINGS = {
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "default_transaction_read_only": "off",
}
# The server ends the session of a client that has died, in the middle of a command or of nothing. Not every platform has these.
_END_WITH_THE_CLIENT = {
    "client_connection_check_interval": "2s",
    "tcp_keepalives_idle": "60s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "6",
    "tcp_user_timeout": "2min",
}
_LOCK_TIMEOUT = "30s"  # of the session that makes, renames and drops databases: nobody waits behind it for ever

_KNOWN = "SELECT name FROM pg_catalog.pg_settings WHERE name = ANY (%s)"
_IS_SUPERUSER = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user"


def protect_session(connection: psycopg2.extensions.connection) -> None:
    """Protect a session of our own, which no pooler hands on: it holds locks."""
    _set(connection, "search_path", _SETTINGS["search_path"])
    settings = {**_known(connection, _SETTINGS), "lock_timeout": _LOCK_TIMEOUT}
    # A server that is set to commit without waiting could lose the mark, or the swap itself.
    settings["synchronous_commit"] = "on"
    for name, value in settings.items():
        _set(connection, name, value)
    for name, value in _known(connection, _END_WITH_THE_CLIENT).items():
        with contextlib.suppress(QueryFailed):
            _set(connection, name, value)


def set_encoding(connection: psycopg2.extensions.connection, encoding: str = "UTF8") -> None:
    """Choose the encoding of a session: the database's own, such as SQL_ASCII, could not take every name."""
    import psycopg2

    try:
        connection.set_client_encoding(encoding)
    except (psycopg2.Error, UnicodeError) as error:
        raise QueryFailed(f"The server does not speak {encoding}: {str(error).strip()}", "See whether it runs.") from error


def protected(login: Login, connection: psycopg2.extensions.connection) -> Login:
    """Return the login by which other sessions on the same server, and PostgreSQL's programs, are protected, too.

    Where the user may choose it, the server speaks English to them, so that what they say can be understood. Many a pooler takes
    no such options; then nothing is protected.
    """
    settings = _known(connection, _SETTINGS)
    [(is_superuser,)] = query(connection, _IS_SUPERUSER)
    if is_superuser:
        settings["lc_messages"] = "C"
    options = [os.environ.get("PGOPTIONS", ""), *(f"-c {name}={value}" for name, value in settings.items())]
    result = dataclasses.replace(login, options=" ".join(filter(None, options)))
    try:
        with connecting(result):
            return result
    except ConnectionFailed:
        return login


def _known(connection: psycopg2.extensions.connection, settings: dict[str, str]) -> dict[str, str]:
    """Return those of the settings that the server has."""
    known = {name for (name,) in query(connection, _KNOWN, list(settings))}
    return {name: value for name, value in settings.items() if name in known}


def _set(connection: psycopg2.extensions.connection, name: str, value: str) -> None:
    query(connection, "SELECT pg_catalog.set_config(%s, %s, false)", name, value)

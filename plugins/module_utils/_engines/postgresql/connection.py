"""How to reach a PostgreSQL server: one connection string, for psycopg2 and for PostgreSQL's own programs.

A database is named only inside a connection string: a bare name that looks like one would connect elsewhere.
The password travels in a file that exists in memory alone; libpq reads it as a password file.
https://www.postgresql.org/docs/current/libpq-pgpass.html
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import locale
import os
import pwd
import secrets
import select
import socket
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.login_refusal import (
    ASKS_FOR_PROOF,
    code_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.waiting import STOP_SECONDS, interrupted, unless_stopped
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    AuthenticationFailed,
    BackupError,
    ConnectionFailed,
    LibraryMissing,
    QueryFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import secret_file

if t.TYPE_CHECKING:
    import psycopg2.extensions

_CONNECT_SECONDS = 15
_ANSWER_SECONDS = 60.0
_APPLICATION = "lastgood.database"
_SERVERS_OWN = "SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)"
_INVALID_AUTHORIZATION = "28"  # the class of SQLSTATEs


class Connect(t.Protocol):
    """Connects as ``connecting`` does."""

    def __call__(
        self, login: Login, *, readonly: bool = True, seconds: float | None = None
    ) -> t.ContextManager[psycopg2.extensions.connection]:
        """Return what opens a connection, and closes it in the end."""


@dataclass(frozen=True)
class Login:
    """The address of the server and the login. libpq chooses values that are None: from its environment, or its defaults."""

    host: str | None = None
    host_address: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = None
    unix_socket: str | None = None
    database: str = "postgres"
    ssl_mode: str | None = None
    ca_cert: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    session_role: str | None = None
    options: str | None = None

    def __repr__(self) -> str:
        """Return a text without the password."""
        return f"Login({self.conninfo(self.database)})"

    def reached(self, connection: psycopg2.extensions.connection) -> Login:
        """Return a login with the address of the server that this one reached.

        Another program's libpq may have other defaults, and may reach another one of several hosts.
        """
        info = connection.info
        host, address = info.host or self.host, _address_of(connection.fileno())
        return dataclasses.replace(self, host=host, host_address=address, port=info.port, unix_socket=None)

    def conninfo(self, database: str) -> str:
        """Return libpq's connection string for a database of the server, without the password."""
        parts = {
            "dbname": database,
            "host": self.unix_socket or self.host,
            "hostaddr": self.host_address,
            "port": self.port,
            "user": self.user,
            "sslmode": self.ssl_mode,
            "sslrootcert": self.ca_cert,
            "sslcert": self.ssl_cert,
            "sslkey": self.ssl_key,
            "options": self.options,
            "connect_timeout": _CONNECT_SECONDS,
            "fallback_application_name": _APPLICATION,
        }
        return " ".join(f"{name}={_quote(str(value))}" for name, value in parts.items() if value is not None)


def _address_of(descriptor: int) -> str | None:
    """Return the address at the other end of a connection, None where that is a socket in the file system."""
    with socket.socket(fileno=os.dup(descriptor)) as end:
        try:
            return str(end.getpeername()[0]) if end.family in (socket.AF_INET, socket.AF_INET6) else None
        except OSError:  # it was closed since; the next query will report that
            return None


def password_file(login: Login) -> t.ContextManager[int | None]:
    """Write the password to a file without a name, and yield its descriptor; None without a password."""
    if login.password is None:
        return contextlib.nullcontext()
    escaped = login.password.replace("\\", "\\\\").replace(":", "\\:")
    return secret_file(os.fsencode(f"*:*:*:*:{escaped}\n"))


@contextlib.contextmanager
def connecting(
    login: Login,
    *,
    readonly: bool = True,
    seconds: float | None = None,
    is_stopped: t.Callable[[], bool] = lambda: False,
) -> t.Iterator[psycopg2.extensions.connection]:
    """Connect to the server's ``login.database``.

    With ``readonly`` each query has a read-only transaction of its own, and no setting outlives it: behind a pooler, somebody
    else gets the session next. Without it, the session is ours, and is reset in the end. ``seconds`` is how long an answer may
    take. Nobody waits for one any more when ``is_stopped``.
    """
    try:
        import psycopg2
    except ImportError as error:
        raise LibraryMissing(
            "PostgreSQL is asked through the Python library psycopg2, which this host's Python does not have.",
            "Install python3-psycopg2 (Debian, Ubuntu, RHEL, Fedora), python3-psycopg2 or py3-psycopg2 (SUSE, Alpine), "
            "or psycopg2-binary with pip.",
            library="psycopg2",
        ) from error

    with password_file(login) as password:
        conninfo = login.conninfo(login.database)
        if password is not None:
            conninfo += f" password='' passfile=/dev/fd/{password}"  # empty, or PGPASSWORD would win over the file

        def attempt(database: str) -> str | None:
            # A later dbname in a connection string wins.
            try:
                psycopg2.connect(f"{conninfo} dbname={_quote(database)}").close()
            except (psycopg2.Error, UnicodeError) as error:
                return _words(error)
            return None

        locale.setlocale(locale.LC_MESSAGES, "C")  # for libpq's own words
        try:
            connection = unless_stopped(
                lambda: psycopg2.connect(conninfo, connection_factory=_connection_class(login.session_role)), is_stopped
            )
        except (psycopg2.Error, UnicodeError) as error:
            raise _connection_error(login, _words(error), attempt) from error
    # Only from here on: while it connects, libpq keeps its own time, for each of several hosts.
    before = psycopg2.extensions.get_wait_callback()
    psycopg2.extensions.set_wait_callback(lambda waiting: _wait_for_answer(waiting, seconds or _ANSWER_SECONDS, is_stopped))
    try:
        if readonly:
            connection.set_session(readonly=True)
            yield connection
        else:
            connection.autocommit = True
            if login.session_role is not None:
                query(connection, "SELECT set_config('role', %s, false)", login.session_role)
            yield connection
            _reset(connection)
    finally:
        psycopg2.extensions.set_wait_callback(before)
        connection.close()


def _connection_class(session_role: str | None) -> t.Any:
    """Return a class for connections that have the role of each transaction."""
    import psycopg2.extensions

    return type("Connection", (psycopg2.extensions.connection,), {"session_role": session_role})


def _reset(connection: psycopg2.extensions.connection) -> None:
    """Reset the session: a pooler may give it to the next client."""
    import psycopg2

    with contextlib.suppress(psycopg2.Error, BackupError):
        connection.rollback()
        connection.autocommit = True
        execute(connection, "DISCARD ALL")


def _wait_for_answer(connection: psycopg2.extensions.connection, seconds: float, is_stopped: t.Callable[[], bool]) -> None:
    """Wait as psycopg2 does, but with a time limit. https://www.psycopg.org/docs/advanced.html#green-support"""
    from psycopg2.extensions import POLL_OK, POLL_READ

    deadline = time.monotonic() + seconds
    while (state := connection.poll()) != POLL_OK:
        descriptors = [connection.fileno()]
        reading, writing = (descriptors, []) if state == POLL_READ else ([], descriptors)
        while not any(select.select(reading, writing, [], max(0.0, min(STOP_SECONDS, deadline - time.monotonic())))):
            if is_stopped():
                raise interrupted()
            if time.monotonic() < deadline:
                continue
            raise ConnectionFailed(
                f"The server has not answered for {seconds:g} seconds.",
                "See whether it hangs, or whether the network in between lost the connection.",
            )


def query(connection: psycopg2.extensions.connection, sql: str, *values: t.Any) -> list[tuple[t.Any, ...]]:
    """Run a query, and return the rows. Raises QueryFailed with the server's own words."""
    import psycopg2

    try:
        with _transaction(connection), connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()
    except psycopg2.Error as error:
        raise QueryFailed(
            f"The server refused a question: {str(error).strip()}",
            "Check what the user may do (login_user, session_role).",
            sqlstate=error.pgcode,
        ) from error
    except UnicodeError as error:
        raise QueryFailed(
            f"A question or the server's answer has characters of another encoding: {_words(error)}",
            "Connect to a database in UTF8 (login_db), or rename it.",
        ) from error


@contextlib.contextmanager
def _transaction(connection: psycopg2.extensions.connection) -> t.Iterator[None]:
    """Where the connection is read-only, end the transaction that a query begins, and with it its settings.

    A database's owner chooses its search_path: no function of theirs may hide the server's.
    """
    if not connection.readonly:
        yield
        return
    import psycopg2

    try:
        with connection.cursor() as cursor:
            cursor.execute(_SERVERS_OWN)
            role = getattr(connection, "session_role", None)
            if role is not None:
                cursor.execute("SELECT pg_catalog.set_config('role', %s, true)", (role,))
        yield
    finally:
        with contextlib.suppress(psycopg2.Error):
            connection.rollback()


def execute(connection: psycopg2.extensions.connection, sql: str) -> None:
    """Execute a statement without a time limit: dropping a large database takes time.

    Raises QueryFailed with the server's own words, which hold nothing of the SQL.
    """
    import psycopg2

    try:
        with patiently(), connection.cursor() as cursor:
            cursor.execute(sql)
    except UnicodeError as error:
        raise QueryFailed(
            f"A command or the server's answer has characters of another encoding: {_words(error)}",
            "Connect to a database in UTF8 (login_db).",
        ) from error
    except psycopg2.Error as error:
        said = [error.diag.message_primary or str(error).strip(), error.diag.message_detail]
        raise QueryFailed(
            f"The server refused a command: {'. '.join(part for part in said if part)}.",
            "Check what the user may do (login_user, session_role).",
            sqlstate=error.pgcode,
        ) from error


def patiently() -> t.ContextManager[None]:
    """Wait for the server's answers, however long they take."""
    return _waiting_by(None)


def until(deadline: float, is_stopped: t.Callable[[], bool]) -> t.ContextManager[None]:
    """Wait for the server's answers until a monotonic time at most, or until ``is_stopped`` returns true."""
    return _waiting_by(lambda connection: _wait_for_answer(connection, deadline - time.monotonic(), is_stopped))


@contextlib.contextmanager
def _waiting_by(callback: t.Callable[[psycopg2.extensions.connection], None] | None) -> t.Iterator[None]:
    import psycopg2.extensions

    before = psycopg2.extensions.get_wait_callback()
    psycopg2.extensions.set_wait_callback(callback)
    try:
        yield
    finally:
        psycopg2.extensions.set_wait_callback(before)


def _connection_error(login: Login, words: str, attempt: t.Callable[[str], str | None]) -> ConnectionFailed:
    """Return the error that a failed connection is. ``attempt`` connects to another database, and returns what goes wrong."""
    code = _code_of(login, words, attempt)
    if code is None or not code.startswith(_INVALID_AUTHORIZATION):
        return ConnectionFailed(
            f"The connection to the server failed: {words}",
            "See whether it runs, and correct login_host, login_port, login_unix_socket, login_user or login_db.",
            **({} if code is None else {"sqlstate": code}),
        )
    if login.user is None and "PGUSER" not in os.environ:
        return AuthenticationFailed(
            f"The server did not let us in: {words}",
            f"Without login_user, it is the user as whom the module runs, {_own_name()}: set become_user to one that the server "
            "knows, such as postgres, or set login_user and login_password.",
        )
    return AuthenticationFailed(
        f"The server did not let us in: {words}", "Correct login_user and login_password, or the server's pg_hba.conf."
    )


def _code_of(login: Login, words: str, attempt: t.Callable[[str], str | None]) -> str | None:
    """Return the SQLSTATE of a refusal, as far as it can be known. libpq gives none, and the server speaks its language."""
    if "authentication failed" in words or "no password supplied" in words:
        return _INVALID_AUTHORIZATION
    user = login.user or os.environ.get("PGUSER") or _own_name()
    code = code_of(words, user, login.database, tls=login.ssl_mode != "disable")
    if code != ASKS_FOR_PROOF:
        return code
    # The proof is examined before the database is looked up: then it makes no difference which one it is.
    return _INVALID_AUTHORIZATION if attempt(f"lastgood_{secrets.token_hex(8)}") == words else None


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _words(error: Exception) -> str:
    """Return what an error says; what psycopg2 could not decode, as far as it is ASCII.

    A server speaks in the encoding of the database, and before it has one, in any.
    """
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode("ascii", "replace").strip()
    return str(error).strip()


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

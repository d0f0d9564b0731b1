"""How to connect to a MariaDB or MySQL server: PyMySQL for queries, and an option file for the server's own programs.

The option file exists only in memory, and has the address, the login and the password, so that no argument and no environment
variable has them. https://mariadb.com/kb/en/configuring-mariadb-with-option-files/
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import ssl
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._engines.waiting import unless_stopped
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    AuthenticationFailed,
    BackupError,
    ConnectionFailed,
    ConnectionLost,
    LibraryMissing,
    QueryFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import secret_file

if t.TYPE_CHECKING:
    import pymysql

_CONNECT_SECONDS = 15
_ANSWER_SECONDS = 60
LOCK_SECONDS = 20  # how long a statement waits for the lock of another session; the servers' own limits are a day and a year
LOST = (1053, 1927, 2002, 2003, 2006, 2013)  # the numbers of errors of a connection that broke
_DEFAULT_PORT = 3306
# The distributions' paths of the server's socket.
_SOCKETS = (
    "/run/mysqld/mysqld.sock",  # Debian, Ubuntu, Alpine
    "/var/lib/mysql/mysql.sock",  # RHEL, Fedora
    "/run/mysql/mysql.sock",  # SUSE
    "/tmp/mysql.sock",
)
_VERIFIES = {"verify-ca": ssl.CERT_REQUIRED, "verify-full": ssl.CERT_REQUIRED}
_ENCRYPTS = ("require", *_VERIFIES)
_REFUSALS = (1044, 1045, 1130, 1227, 1251, 1275, 1524, 1698, 3118, 3955)  # numbers of errors about the login
_CLEAR = (b"mysql_clear_password", b"dialog")  # plugins that send the password as clear text
_IN_OPTION_FILE = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})

Product = t.Literal["MariaDB", "MySQL"]
Rows = list[tuple[t.Any, ...]]


@dataclass(frozen=True)
class Login:
    """The address of the server and the login. Values that are None are chosen by ``with_defaults``."""

    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = None
    unix_socket: str | None = None
    ssl_mode: str | None = None
    ca_cert: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None

    def __repr__(self) -> str:
        """Return a text without the password."""
        return f"Login({self.user}@{self.address})"

    @property
    def address(self) -> str:
        """The address, as messages and a backup's source show it."""
        if self.unix_socket is not None:
            return self.unix_socket
        return f"{self.host or 'default'}{'' if self.port is None else f':{self.port}'}"

    def with_defaults(self) -> Login:
        """Return the login with an address and a user."""
        user = pwd.getpwuid(os.geteuid()).pw_name if self.user is None else self.user
        if self.unix_socket is not None:
            return dataclasses.replace(self, user=user)
        if self.host is None and self.port is None:
            found = next(filter(os.path.exists, _SOCKETS), None)
            if found is not None:
                return dataclasses.replace(self, user=user, unix_socket=found)
        return dataclasses.replace(self, user=user, host=self.host or "localhost", port=self.port or _DEFAULT_PORT)

    def reached(self, connection: pymysql.Connection[t.Any]) -> Login:
        """Return the login for programs, which must connect to the same server, and with TLS if this connection has it."""
        login = self.with_defaults()
        if login.ssl_mode in (None, "prefer", "allow"):
            return dataclasses.replace(login, ssl_mode="require" if is_encrypted(connection) else "disable")
        return login

    def option_file(self, product: Product) -> bytes:
        """Return an option file for the programs of a product."""
        values: dict[str, str] = {"user": self.user or "", "password": self.password or ""}
        if self.unix_socket is not None:
            values.update(protocol="SOCKET", socket=self.unix_socket)
        else:
            values.update(protocol="TCP", host=self.host or "localhost", port=str(self.port or _DEFAULT_PORT))
        values.update(self._encryption(product))
        lines = "".join(f'{name}="{value.translate(_IN_OPTION_FILE)}"\n' for name, value in values.items())
        return f"[client]\n{lines}".encode("utf-8", "surrogateescape")

    def _encryption(self, product: Product) -> dict[str, str]:
        files = {**self._authorities(), "ssl-cert": self.ssl_cert, "ssl-key": self.ssl_key}
        given = {name: path for name, path in files.items() if path is not None}
        encrypts = self.ssl_mode in _ENCRYPTS
        if product == "MySQL":
            modes = {"verify-ca": "VERIFY_CA", "verify-full": "VERIFY_IDENTITY", "require": "REQUIRED"}
            return {"ssl-mode": modes.get(self.ssl_mode or "", "DISABLED"), **(given if encrypts else {})}
        if not encrypts:
            return {"ssl": "0"}
        return {"ssl": "1", "ssl-verify-server-cert": str(int(self.ssl_mode == "verify-full")), **given}

    def _authorities(self) -> dict[str, str | None]:
        """Return where programs find the authorities. Without a place, MariaDB's trust any server, and MySQL's fail."""
        if self.ca_cert is not None or self.ssl_mode not in _VERIFIES:
            return {"ssl-ca": self.ca_cert}
        host = ssl.get_default_verify_paths()
        return {"ssl-ca": host.cafile, "ssl-capath": host.capath}


def option_file(login: Login, product: Product) -> t.ContextManager[int]:
    """Write an option file into memory, and yield its descriptor."""
    return secret_file(login.option_file(product))


@contextlib.contextmanager
def connecting(
    login: Login,
    *,
    database: str | None = None,
    seconds: float | None = None,
    is_stopped: t.Callable[[], bool] = lambda: False,
) -> t.Iterator[pymysql.Connection[t.Any]]:
    """Connect to the server. ``seconds`` is how long an answer may take; 0 is no limit."""
    try:
        import pymysql  # noqa: F401
    except ImportError as error:
        raise LibraryMissing(
            "MariaDB and MySQL are asked through the Python library PyMySQL, which this host's Python does not have.",
            "Install python3-pymysql (Debian, Ubuntu), python3-PyMySQL (RHEL, Fedora, SUSE), py3-pymysql (Alpine), or PyMySQL "
            "with pip.",
            library="pymysql",
        ) from error
    connection = unless_stopped(lambda: _connect(login.with_defaults(), database, seconds), is_stopped)
    try:
        yield connection
    finally:
        with contextlib.suppress(Exception):  # the server ends the session when the connection is lost
            connection.close()


def _connect(login: Login, database: str | None, seconds: float | None) -> pymysql.Connection[t.Any]:
    import pymysql

    limit = _ANSWER_SECONDS if seconds is None else seconds or None
    try:
        made: pymysql.Connection[t.Any] = _connection_class(login)(
            host=login.host or "localhost",
            port=login.port or _DEFAULT_PORT,
            unix_socket=login.unix_socket,
            user=login.user,
            password=(login.password or "").encode("utf-8", "surrogateescape"),  # PyMySQL encodes a text as Latin-1
            charset="utf8mb4",
            autocommit=True,
            local_infile=False,
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=limit,
            write_timeout=limit,
            ssl=None if login.unix_socket is not None else _tls(login),
        )
        # The syntax of SQL depends on sql_mode.
        execute(made, f"SET SESSION sql_mode = '', lock_wait_timeout = {LOCK_SECONDS}")
        if database is not None:  # not at the login, where a name can't be quoted
            execute(made, f"USE {quote_identifier(database)}")
        return made
    except pymysql.MySQLError as error:
        raise _connection_error(login, error) from error
    except (OSError, UnicodeError) as error:
        raise ConnectionFailed(
            f"The connection to the server at {login.address} failed: {error}.", "Correct ca_cert, ssl_cert and ssl_key."
        ) from error
    except RuntimeError as error:  # cryptography is missing
        raise LibraryMissing(
            f"The server at {login.address} asks for a login that PyMySQL needs another library for: {error}.",
            "Install python3-cryptography, or connect through the server's socket or with TLS.",
            library="cryptography",
        ) from error


def _tls(login: Login) -> ssl.SSLContext | None:
    """Return how to encrypt a connection, None for an unencrypted one."""
    mode = login.ssl_mode or "prefer"
    if mode == "disable":
        return None
    context = ssl.create_default_context(cafile=login.ca_cert)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the certificates that MySQL makes for itself do not pass it
    context.check_hostname = mode == "verify-full"
    context.verify_mode = _VERIFIES.get(mode, ssl.CERT_NONE)
    if login.ssl_cert is not None:
        context.load_cert_chain(login.ssl_cert, login.ssl_key)
    return context


def _connection_class(login: Login) -> t.Any:
    """Return a class of connections that send no password as clear text without TLS, and none at all if the login requires TLS.

    An attacker in the server's place may ask for the password as clear text, and PyMySQL would send it.
    """
    import pymysql
    from pymysql.constants import CLIENT

    class Connection(pymysql.connections.Connection):
        def _request_authentication(self) -> None:
            if login.unix_socket is None and not getattr(self, "server_capabilities", 0) & CLIENT.SSL:
                if login.ssl_mode in _ENCRYPTS:
                    raise pymysql.OperationalError(2026, f"it offers no TLS, which ssl_mode={login.ssl_mode} requires")
                self.ssl = self._ssl_required = False
                self.client_flag &= ~CLIENT.SSL
            super()._request_authentication()  # type: ignore[misc]

        def _process_auth(self, plugin_name: bytes, auth_packet: t.Any, *handler: t.Any) -> t.Any:
            if plugin_name in _CLEAR and login.unix_socket is None and not is_encrypted(self):
                name = plugin_name.decode()
                raise pymysql.OperationalError(2059, f"it asks for the password as clear text ({name}), and offers no TLS")
            return super()._process_auth(plugin_name, auth_packet, *handler)  # type: ignore[misc]

    return Connection


def is_encrypted(connection: pymysql.Connection[t.Any]) -> bool:
    """Return whether a connection is encrypted by TLS."""
    return isinstance(getattr(connection, "_sock", None), ssl.SSLSocket)


def _connection_error(login: Login, error: pymysql.MySQLError) -> ConnectionFailed:
    number, words = number_of(error), words_of(error)
    details = {} if number is None else {"number": number}
    if number not in _REFUSALS:
        return ConnectionFailed(
            f"The connection to the server at {login.address} failed: {words}",
            "See whether it runs, and correct login_unix_socket, login_host, login_port or ssl_mode.",
            **details,
        )
    return AuthenticationFailed(
        f"The server at {login.address} did not let the user {login.user} in: {words}",
        "Correct login_user and login_password, or the account on the server. Without login_user, it is the user as whom the "
        "module runs.",
        **details,
    )


def query(connection: pymysql.Connection[t.Any], sql: str, *values: t.Any) -> Rows:
    """Run a query, and return the rows. Raises QueryFailed with the server's own words, or ConnectionLost."""
    import pymysql

    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())
    except (pymysql.MySQLError, OSError, UnicodeError) as error:
        raise _query_error(error) from error


def execute(connection: pymysql.Connection[t.Any], sql: str | bytes) -> None:
    """Execute one statement as it is. Raises QueryFailed with the server's own words, or ConnectionLost."""
    import pymysql

    try:
        connection.query(sql)
    except (pymysql.MySQLError, OSError, UnicodeError) as error:
        raise _query_error(error) from error


def cancel(login: Login, session: int) -> None:
    """End the statement that a session executes."""
    with connecting(login) as another:
        execute(another, f"KILL QUERY {session}")


def _query_error(error: Exception) -> BackupError:
    import pymysql

    number = number_of(error)
    details = {} if number is None else {"number": number}
    if number in LOST or isinstance(error, (OSError, pymysql.InterfaceError)):
        return ConnectionLost(
            f"The connection to the server was lost: {words_of(error)}",
            "See whether the server runs, and what its log says.",
            **details,
        )
    return QueryFailed(
        f"The server refused a statement: {words_of(error)}", "Check what the user may do (login_user).", **details
    )


def number_of(error: Exception) -> int | None:
    """Return the number of a server's error, which does not depend on its language; None if it has none."""
    number = error.args[0] if error.args else None
    return number if isinstance(number, int) and not isinstance(error, OSError) else None


def words_of(error: Exception) -> str:
    """Return the text of an error."""
    number, words = number_of(error), str(error.args[1] if len(error.args) > 1 else error).strip()
    return f"{words or type(error).__name__}{'' if number is None else f' (error {number})'}"

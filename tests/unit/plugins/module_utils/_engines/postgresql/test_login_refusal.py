"""What a login is refused for by a server that speaks another language: a small server that says no, and the real libpq."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import connection
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login, connecting
from ansible_collections.lastgood.database.plugins.module_utils._errors import AuthenticationFailed, ConnectionFailed

_TLS_REQUEST = (1234 << 16) + 5679
WANTS_PASSWORD = b"R" + struct.pack("!ii4s", 12, 5, b"salt")  # MD5

Refuser = Callable[..., Path]


def refusal(code: str, words: str) -> bytes:
    fields = ("SFATAL", "VFATAL", f"C{code}", f"M{words}", "", "")
    body = b"\0".join(field.encode() for field in fields)
    return b"E" + struct.pack("!i", len(body) + 4) + body


@pytest.fixture
def refuser(tmp_path: Path) -> Iterator[Refuser]:
    """Start a server that refuses; return the folder of its socket."""
    stack = contextlib.ExitStack()

    def start(code: str, words: str, *, asks: bool = False) -> Path:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(tmp_path / ".s.PGSQL.5432"))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _address = listener.accept()
                    threading.Thread(target=refuse, args=(client,), daemon=True).start()

        def refuse(client: socket.socket) -> None:
            with client, client.makefile("rb") as stream, contextlib.suppress(OSError, struct.error):
                length, kind = struct.unpack("!ii", stream.read(8))
                if kind == _TLS_REQUEST:
                    client.sendall(b"N")
                    length, kind = struct.unpack("!ii", stream.read(8))
                parameters = stream.read(length - 8).split(b"\0")
                database = parameters[parameters.index(b"database") + 1].decode()
                if asks:
                    client.sendall(WANTS_PASSWORD)
                    _kind, length = struct.unpack("!ci", stream.read(5))
                    stream.read(length - 4)
                client.sendall(refusal(code, words.replace("{database}", database)))

        threading.Thread(target=serve, daemon=True).start()
        return tmp_path

    with stack:
        yield start


def fail(folder: Path, user: str | None = "backup") -> ConnectionFailed:
    login = Login(unix_socket=str(folder), user=user, password="hunter2", database="app")
    with pytest.raises(ConnectionFailed) as caught, connecting(login):
        pass
    return caught.value


def test_a_wrong_password_is_known_in_any_language(refuser: Refuser) -> None:
    words = "Passwort-Authentifizierung f\u00fcr Benutzer \u00bbbackup\u00ab fehlgeschlagen"
    assert isinstance(fail(refuser("28P01", words, asks=True)), AuthenticationFailed)


def test_a_missing_database_behind_a_right_password_is_no_wrong_password(refuser: Refuser) -> None:
    error = fail(refuser("3D000", "Datenbank \u00bb{database}\u00ab existiert nicht", asks=True))
    assert error.code == "connection_failed"


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        ("28000", "kein pg_hba.conf-Eintrag", "authentication_failed"),
        ("3D000", "Datenbank \u00bb{database}\u00ab existiert nicht", "connection_failed"),
        ("53300", "tut mir leid, schon zu viele Verbindungen", "connection_failed"),
        ("57P03", "das Datenbanksystem startet", "connection_failed"),
    ],
)
def test_without_a_password_the_servers_code_decides(refuser: Refuser, code: str, words: str, expected: str) -> None:
    error = fail(refuser(code, words))
    assert error.code == expected
    assert error.details.get("sqlstate") in (None, code)


def test_who_has_no_login_user_is_told_of_become_user(refuser: Refuser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGUSER", raising=False)
    monkeypatch.setattr(connection, "_own_name", lambda: "root")
    error = fail(refuser("28000", 'role "root" does not exist'), user=None)
    assert isinstance(error, AuthenticationFailed)
    assert "as whom the module runs, root: set become_user" in str(error)


def test_a_server_that_hangs_up_is_no_wrong_password(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / ".s.PGSQL.5432"))
        listener.listen()

        def hang_up() -> None:
            listener.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        assert fail(tmp_path).code == "connection_failed"

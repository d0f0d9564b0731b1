"""Connection strings, read back by libpq itself; the password's file; servers that are not there."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2.extensions
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    connecting,
    password_file,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ConnectionFailed, LibraryMissing

PASSWORD = "hunter2'\\:x y"
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def parsed(conninfo: str) -> dict[str, str]:
    """Return what libpq takes a connection string for."""
    return dict(psycopg2.extensions.parse_dsn(conninfo))


# --- The connection string -------------------------------------------------------------------------------------


@given(database=TEXT, host=TEXT, user=TEXT, ca_cert=TEXT)
@example(database="app' host='elsewhere", host="h", user="u", ca_cert="c")
@example(database="dbname=other host=elsewhere", host="a b", user="\\", ca_cert="\\'")
@example(database="postgresql://elsewhere/app", host="'", user=" ", ca_cert="=")
@example(database="line\nbreak", host="\t", user="\\\\'", ca_cert="é")
@settings(deadline=None)
def test_libpq_reads_back_every_name_as_it_is(database: str, host: str, user: str, ca_cert: str) -> None:
    found = parsed(Login(host=host, user=user, ca_cert=ca_cert).conninfo(database))
    assert (found["dbname"], found["host"], found["user"], found["sslrootcert"]) == (database, host, user, ca_cert)


def test_each_option_has_its_place() -> None:
    login = Login(
        host="db.example.org",
        port=5433,
        user="backup",
        password=PASSWORD,
        ssl_mode="verify-full",
        ca_cert="/ca",
        ssl_cert="/cert",
        ssl_key="/key",
        session_role="reader",
    )
    assert parsed(login.conninfo("app")) == {
        "dbname": "app",
        "host": "db.example.org",
        "port": "5433",
        "user": "backup",
        "sslmode": "verify-full",
        "sslrootcert": "/ca",
        "sslcert": "/cert",
        "sslkey": "/key",
        "connect_timeout": "15",
        "fallback_application_name": "lastgood.database",
    }


def test_what_is_left_out_is_left_to_libpq() -> None:
    assert set(parsed(Login().conninfo("app"))) == {"dbname", "connect_timeout", "fallback_application_name"}


def test_a_socket_takes_the_place_of_the_host() -> None:
    assert parsed(Login(host="h", unix_socket="/run/postgresql").conninfo("app"))["host"] == "/run/postgresql"


def test_the_password_is_in_no_text() -> None:
    login = Login(user="backup", password="hunter2")
    for text in (repr(login), str(login), f"{login}", login.conninfo("app")):
        assert "hunter2" not in text


class Reached(NamedTuple):
    """What we use of a connection that psycopg2 has made."""

    info: types.SimpleNamespace
    end: socket.socket

    def fileno(self) -> int:
        return self.end.fileno()


def test_the_server_that_answered_is_reached_by_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as end:
        found: Any = Reached(types.SimpleNamespace(host="b", port=5433), end)
        reached = Login(host="a,b", user="u").reached(found)
    assert parsed(reached.conninfo("app")).items() >= {"host": "b", "hostaddr": "127.0.0.1", "port": "5433", "user": "u"}.items()


def test_a_socket_in_the_file_system_has_no_address() -> None:
    end, other = socket.socketpair()
    with end, other:
        found: Any = Reached(types.SimpleNamespace(host="/run/postgresql", port=5432), end)
        reached = Login(unix_socket="/run").reached(found)
    assert parsed(reached.conninfo("app"))["host"] == "/run/postgresql"
    assert "hostaddr" not in parsed(reached.conninfo("app"))


# --- The password's file ---------------------------------------------------------------------------------------


def test_without_a_password_there_is_no_file() -> None:
    with password_file(Login()) as descriptor:
        assert descriptor is None


def test_an_empty_password_is_a_password() -> None:
    with password_file(Login(password="")) as descriptor:
        assert Path(f"/dev/fd/{descriptor}").read_bytes() == b"*:*:*:*:\n"


@pytest.mark.parametrize(
    ("password", "line"),
    [
        ("hunter2", "*:*:*:*:hunter2\n"),
        ("a:b", "*:*:*:*:a\\:b\n"),
        ("a\\b", "*:*:*:*:a\\\\b\n"),
        ("\\:", "*:*:*:*:\\\\\\:\n"),
        ('a\'b "c" $d #e', '*:*:*:*:a\'b "c" $d #e\n'),
        ("pässwörd 世界", "*:*:*:*:pässwörd 世界\n"),
        ("x" * 5000, f"*:*:*:*:{'x' * 5000}\n"),
    ],
)
def test_the_file_is_as_libpq_reads_it(password: str, line: str) -> None:
    with password_file(Login(password=password)) as descriptor:
        for _time in range(2):  # whoever opens it begins at its beginning
            assert Path(f"/dev/fd/{descriptor}").read_text(encoding="utf-8") == line


def test_the_file_is_for_us_alone_in_memory_alone_and_gone_afterwards() -> None:
    with password_file(Login(password=PASSWORD)) as descriptor:
        assert descriptor is not None
        assert os.readlink(f"/proc/self/fd/{descriptor}").startswith("/memfd:")
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
        assert not os.get_inheritable(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_the_file_goes_when_an_error_comes() -> None:
    with pytest.raises(KeyError), password_file(Login(password=PASSWORD)) as descriptor:
        raise KeyError
    assert descriptor is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


# --- Connecting ------------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_an_error_in_libpqs_words_without_the_password(tmp_path: Path) -> None:
    login = Login(unix_socket=str(tmp_path), user="backup", password="hunter2")
    with pytest.raises(ConnectionFailed) as caught, connecting(login):
        pass
    assert caught.value.code == "connection_failed"
    assert f"{tmp_path}/.s.PGSQL.5432" in str(caught.value)
    assert "No such file or directory" in str(caught.value)
    assert "login_unix_socket" in str(caught.value)
    assert "hunter2" not in f"{caught.value} {caught.value.details} {caught.value.__cause__!r}"


def test_connecting_to_nothing_leaves_nothing_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ConnectionFailed), connecting(Login(unix_socket=str(tmp_path), password="hunter2")):
        pass
    assert os.listdir("/proc/self/fd") == before


def test_a_host_without_psycopg2_is_told_what_to_install() -> None:
    code = (
        "import sys; sys.modules['psycopg2'] = None\n"
        "from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import connection\n"
        "from ansible_collections.lastgood.database.plugins.module_utils._errors import LibraryMissing\n"
        "try:\n"
        "  with connection.connecting(connection.Login()): pass\n"
        "except LibraryMissing as error:\n"
        "  print(error, error.as_result())\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", code),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "{'code': 'library_missing', 'library': 'psycopg2'}" in done.stdout
    assert "python3-psycopg2 (Debian, Ubuntu" in done.stdout


def test_a_missing_library_is_found_out_only_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    assert Login(host="h").conninfo("app")
    with pytest.raises(LibraryMissing), connecting(Login(host="h")):
        pass


def test_a_server_that_refuses_the_login_in_latin1_is_an_error(tmp_path: Path) -> None:
    said = "Datenbank \u00bbnirgends\u00ab existiert nicht, f\u00fcr Sie".encode("latin-1")
    fields = b"SFATAL\0VFATAL\0C3D000\0M" + said + b"\0\0"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / ".s.PGSQL.5432"))
        listener.listen()

        def refuse() -> None:
            client, _address = listener.accept()
            with client:
                client.recv(65536)
                client.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

        thread = threading.Thread(target=refuse)
        thread.start()
        try:
            login = Login(unix_socket=str(tmp_path), port=5432, user="postgres")
            with pytest.raises(ConnectionFailed, match=r"nirgends.* existiert nicht"), connecting(login):
                pass
        finally:
            thread.join()

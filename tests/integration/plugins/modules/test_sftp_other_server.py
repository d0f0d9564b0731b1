"""Every module that speaks SFTP, against a second implementation, one that lets in by other ways, and ones that lie."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from ansible_collections.lastgood.database.tests.support.backups import ago, put_backup
from ansible_collections.lastgood.database.tests.support.modules import Host, Outcome, run_module
from ansible_collections.lastgood.database.tests.support.observe import (
    assert_whole,
    contents,
    manifest,
    manifest_path,
    payloads,
    rewrite_manifest,
    state_of,
)
from ansible_collections.lastgood.database.tests.support.other_sftp import PASSWORD, OtherServer, other_sftp_server
from ansible_collections.lastgood.database.tests.support.proxy import failing_network
from ansible_collections.lastgood.database.tests.support.sftp import PASSPHRASE, make_key

SIZE = 1_000_001


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with two backups of one database."""
    source, directory = tmp_path / "app.db", tmp_path / "here"
    for _number in range(2):
        with contextlib.closing(sqlite3.connect(source)) as connection:
            connection.execute("create table if not exists t (noise)")
            connection.execute("insert into t values (?)", (os.urandom(SIZE),))
            connection.commit()
        assert run_module("db_backup", directory=str(directory), engine="sqlite", databases=[str(source)]).changed
    return directory


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OtherServer]:
    with other_sftp_server(tmp_path / "server") as server:
        yield server


def upload(here: Path, server: OtherServer, *, check: bool = False, host: Host | None = None, **over: Any) -> Outcome:
    options = {"directory": str(here), "sftp": server.options(**over.pop("sftp", {})), **over}
    return run_module("backup_upload", check=check, host=host or Host(), **options)


def facts(server: OtherServer, **over: Any) -> dict[str, Any]:
    outcome = run_module("backup_facts", sftp=server.options(**over))
    found = outcome.result["ansible_facts"]["database_backups"]
    assert isinstance(found, dict)
    return found


def check_login(server: OtherServer, host: Host | None = None, **over: Any) -> Outcome:
    return run_module("sftp_check", server.options(**over), host=host or Host())


# --- The same as with OpenSSH ---------------------------------------------------------------------


@pytest.mark.parametrize("posix_rename", [False, True], ids=["without posix-rename", "with posix-rename"])
def test_backups_go_there_are_listed_verified_and_pruned(tmp_path: Path, here: Path, posix_rename: bool) -> None:
    with other_sftp_server(tmp_path / "server", posix_rename=posix_rename) as server:
        assert check_login(server).result["writable"]
        done = upload(here, server, verify="sha256")
        assert len(done.result["uploaded"]) == 2
        assert_whole(server.root)
        assert contents(server.root).keys() == contents(here).keys()
        assert not upload(here, server).changed
        assert [file["state"] for file in facts(server)["files"]] == ["good", "good"]
        verified = run_module("backup_verify", sftp=server.options(), level="checksum")
        assert verified.changed
        assert {manifest(path)["verification"]["verdict"] for path in payloads(server.root)} == {"passed"}
        assert_whole(server.root)
        pruned = run_module("backup_prune", sftp=server.options(), keep_last=1)
        assert len(pruned.result["deleted"]) == 1
        assert_whole(server.root)
        assert len(payloads(server.root)) == 1


def test_a_root_of_its_own_is_not_left(here: Path, server: OtherServer) -> None:
    outcome = run_module("backup_upload", directory=str(here), sftp=server.options("/../../deep/down", create_directory=True))
    assert outcome.changed
    assert len(payloads(server.root / "deep" / "down")) == 2
    assert {path.name for path in server.folder.iterdir()} == {"host", "host.pub", "root"}


def test_a_payload_that_lost_its_manifest_there_gets_it_again(here: Path, server: OtherServer) -> None:
    upload(here, server)
    first, second = payloads(server.root)
    manifest_path(first).unlink()
    before = state_of(server.root)
    assert upload(here, server, check=True).result["refreshed"] == [first.name]
    assert state_of(server.root) == before
    done = upload(here, server)
    assert done.changed
    assert (done.result["refreshed"], done.result["up_to_date"]) == ([first.name], [first.name, second.name])
    assert_whole(server.root)


def test_a_newer_manifest_takes_an_old_one_s_place_and_leaves_nothing_beside(here: Path, server: OtherServer) -> None:
    upload(here, server)
    [first, _second] = payloads(here)
    rewrite_manifest(first, confirmed_at="2099-01-01T00:00:00Z")
    assert upload(here, server).result["refreshed"] == [first.name]
    assert manifest(server.root / first.name)["confirmed_at"] == "2099-01-01T00:00:00Z"
    assert_whole(server.root)


def recording(seen: list[tuple[str, bytes]]) -> type[asyncssh.SFTPServer]:
    """A server that notes which name was taken from a file, and which was given to one."""

    class Recording(asyncssh.SFTPServer):
        def remove(self, path: bytes) -> Any:
            seen.append(("remove", path))
            return super().remove(path)

        def rename(self, oldpath: bytes, newpath: bytes) -> Any:
            seen.extend([("rename from", oldpath), ("rename to", newpath)])
            return super().rename(oldpath, newpath)

        def posix_rename(self, oldpath: bytes, newpath: bytes) -> Any:
            seen.append(("replace", newpath))
            return super().posix_rename(oldpath, newpath)

    return Recording


def test_a_server_that_replaces_files_itself_never_has_a_moment_without_the_manifest(tmp_path: Path, here: Path) -> None:
    seen: list[tuple[str, bytes]] = []
    with other_sftp_server(tmp_path / "server", files=recording(seen), posix_rename=True) as server:
        upload(here, server)
        seen.clear()
        [first, _second] = payloads(here)
        rewrite_manifest(first, confirmed_at="2099-01-01T00:00:00Z")
        assert upload(here, server).result["refreshed"] == [first.name]
        assert seen == [("replace", f"/{manifest_path(first).name}".encode())]
        assert_whole(server.root)


def meeting(count: int, writers: set[object]) -> type[asyncssh.SFTPServer]:
    """A server that takes no payload before so many connections have come with one."""
    all_here = asyncio.Event()

    class Meeting(asyncssh.SFTPServer):
        async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
            if pflags & asyncssh.FXF_WRITE and b"manifest" not in path:
                writers.add(self.channel.get_connection())
                if len(writers) == count:
                    all_here.set()
                await all_here.wait()
            return super().open(path, pflags, attrs)

    return Meeting


def test_several_backups_go_at_a_time_over_as_many_connections_as_are_asked_for(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    names = [put_backup(here, ago(hours=hours), os.urandom(100_000)) for hours in range(5)]
    writers: set[object] = set()
    with other_sftp_server(tmp_path / "server", files=meeting(3, writers)) as server:
        done = upload(here, server, connections=3, sftp={"timeout": "15s"})
        assert done.result["uploaded"] == sorted(names)
        assert (len(writers), server.seen) == (3, ["password"] * 3)
        assert_whole(server.root)


def test_another_payload_without_a_manifest_is_a_conflict(here: Path, server: OtherServer) -> None:
    upload(here, server)
    first = payloads(server.root)[0]
    manifest_path(first).unlink()
    first.write_bytes(os.urandom(SIZE))
    before = first.read_bytes()
    done = upload(here, server)
    assert done.error_code == "name_conflict"
    assert first.read_bytes() == before


# --- Who is let in --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["password", "keyboard-interactive"])
def test_a_password_is_given_in_the_way_that_the_server_asks_for_it(tmp_path: Path, way: str) -> None:
    with other_sftp_server(tmp_path / "server", ways=(way,)) as server:
        for method in ("auto", "password"):
            assert check_login(server, auth_method=method).status == 0
        assert set(server.seen) == {way}
        refused = check_login(server, password="not " + PASSWORD)
        assert (refused.error_code, refused.result["failed_step"]) == ("authentication_failed", "authenticate")
        assert way in refused.msg
        assert PASSWORD not in refused.stdout + refused.stderr


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("passphrase", ["", PASSPHRASE], ids=["without passphrase", "with passphrase"])
@pytest.mark.parametrize("form", [(), ("-m", "PEM")], ids=["openssh", "pem"])
def test_every_kind_of_key_opens_the_server(tmp_path: Path, kind: str, passphrase: str, form: tuple[str, ...]) -> None:
    key = make_key(tmp_path / "key", kind, *form, passphrase=passphrase)
    known = {"key_passphrase": passphrase} if passphrase else {}
    with other_sftp_server(tmp_path / "server", ways=(), keys=Path(f"{key}.pub")) as server:
        assert check_login(server, password=None, private_key_file=str(key), **known).status == 0
        assert check_login(server, password=None, private_key=key.read_text(), **known).status == 0
        if passphrase:
            wrong = check_login(server, password=None, private_key_file=str(key), key_passphrase="no")
            assert wrong.error_code == "wrong_passphrase"


def test_an_agent_s_keys_open_the_server(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key", "ed25519")
    socket = tmp_path / "agent"
    agent = subprocess.Popen(("ssh-agent", "-D", "-a", str(socket)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        while subprocess.run(("ssh-add", "-q", str(key)), env=environment, capture_output=True, check=False).returncode:
            assert agent.poll() is None
        with other_sftp_server(tmp_path / "server", ways=(), keys=Path(f"{key}.pub")) as server:
            assert check_login(server, password=None).error_code == "authentication_failed"
            with_agent = Host(environment={"SSH_AUTH_SOCK": str(socket)})
            assert check_login(server, password=None, host=with_agent).status == 0
    finally:
        agent.terminate()
        agent.wait()


@pytest.mark.parametrize(
    "old",
    [
        {"encryption_algs": ["aes128-cbc"]},
        {"mac_algs": ["hmac-sha1"], "encryption_algs": ["aes128-ctr"]},
        {"kex_algs": ["diffie-hellman-group1-sha1"]},
    ],
    ids=["cipher", "mac", "key exchange"],
)
def test_a_server_with_nothing_but_old_algorithms_is_refused(tmp_path: Path, old: dict[str, Any]) -> None:
    with other_sftp_server(tmp_path / "server", **old) as server:
        refused = check_login(server)
        assert (refused.error_code, refused.result["failed_step"]) == ("connection_failed", "connect")
        assert "algorithms" in refused.msg


def test_a_server_that_takes_signatures_by_sha_1_alone_is_given_none(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key", "rsa")
    with other_sftp_server(tmp_path / "server", ways=(), keys=Path(f"{key}.pub"), signature_algs=["ssh-rsa"]) as server:
        refused = check_login(server, password=None, private_key_file=str(key))
        assert (refused.error_code, refused.result["failed_step"]) == ("authentication_failed", "authenticate")


@pytest.mark.parametrize("place", ["login", "password"])
def test_a_server_that_never_decides_on_a_login_is_left_before_it_loses_patience(tmp_path: Path, place: str) -> None:
    with other_sftp_server(tmp_path / "server", hangs_at=place, login_timeout=20) as server:
        left = check_login(server, timeout="1s")
        assert (left.error_code, left.result["failed_step"]) == ("connection_timeout", "authenticate")


def test_a_key_that_nobody_checks_is_warned_about_by_every_module(tmp_path: Path, here: Path, server: OtherServer) -> None:
    sftp = server.options(host_key_policy="off", host_key=None)
    outcomes = [
        run_module("sftp_check", sftp),
        run_module("backup_upload", directory=str(here), sftp=sftp),
        run_module("backup_facts", sftp=sftp),
        run_module("backup_verify", sftp=sftp, level="checksum"),
        run_module("db_restore", engine="sqlite", sftp=sftp, database=str(tmp_path / "app.db"), if_exists="replace"),
        run_module("backup_prune", sftp=sftp, keep_last=1),
    ]
    for outcome in outcomes:
        assert outcome.status == 0
        assert ["was not checked" in warning for warning in outcome.warnings] == [True]


# --- Servers that lie -----------------------------------------------------------------------------


def named(*names: bytes) -> type[asyncssh.SFTPServer]:
    """A server whose listing has these names too."""

    class Lying(asyncssh.SFTPServer):
        async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
            for name in names:
                yield asyncssh.SFTPName(name, attrs=asyncssh.SFTPAttrs(size=1, permissions=0o100600))
            async for found in super().scandir(path):
                yield found

    return Lying


def test_names_that_lead_elsewhere_are_passed_over(tmp_path: Path, here: Path) -> None:
    bad = b"backup_x_2026-01-01_00-00-00.dump.gz"
    names = (b"../" + bad, b"/etc/" + bad, b"a/" + bad, b"backup_x\n_2026-01-01_00-00-00.dump.gz", b"\xff" + bad, b"n" * 10_000)
    with other_sftp_server(tmp_path / "server", files=named(*names)) as server:
        assert upload(here, server).changed
        found = facts(server)
        assert [file["filename"] for file in found["files"]] == [path.name for path in payloads(here)]
        before = state_of(tmp_path / "here")
        run_module("backup_prune", sftp=server.options(), keep_last=1)
        assert state_of(tmp_path / "here") == before


def test_a_listing_of_a_hundred_thousand_names_is_borne(tmp_path: Path, here: Path) -> None:
    names = [b"backup_x_2026-01-01_00-00-00.dump.gz.%06d" % number for number in range(100_000)]
    with other_sftp_server(tmp_path / "server", files=named(*names)) as server:
        assert upload(here, server, sftp={"timeout": "60s"}).changed
        assert facts(server, timeout="60s")["count"] == 2


class Endless(asyncssh.SFTPServer):
    """Says of each manifest that it is of a gigabyte, and has as much to read."""

    def lstat(self, path: bytes) -> Any:
        attributes = super().lstat(path)
        if path.endswith(b".json"):
            return asyncssh.SFTPAttrs(size=1 << 30, permissions=0o100600)
        return attributes

    stat = lstat

    def read(self, file_obj: Any, offset: int, size: int) -> Any:
        if file_obj.name.endswith(b".json"):
            return b" " * size if offset < 1 << 30 else b""
        return super().read(file_obj, offset, size)


def test_of_a_manifest_of_a_gigabyte_no_more_is_read_than_a_manifest_can_have(tmp_path: Path, here: Path) -> None:
    with other_sftp_server(tmp_path / "server", files=Endless) as server:
        for path in here.iterdir():
            (server.root / path.name).write_bytes(path.read_bytes())
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        assert [file["state"] for file in facts(server)["files"]] == ["unverified", "unverified"]
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < before + 50 * 1024
        before_upload = contents(here)
        assert upload(here, server).result["up_to_date"] == [path.name for path in payloads(here)]
        assert contents(here) == before_upload


def sized(change: int) -> type[asyncssh.SFTPServer]:
    """A server that says of each payload and partial that it is so much longer than it is."""

    class Lying(asyncssh.SFTPServer):
        def lstat(self, path: bytes) -> Any:
            found = super().lstat(path)
            name = os.path.basename(path)
            if name.endswith((b".gz", b".partial")) and b"manifest" not in name:
                return asyncssh.SFTPAttrs(size=found.st_size + change, permissions=0o100600, mtime=int(found.st_mtime))  # type: ignore[union-attr]
            return found

    return Lying


@pytest.mark.parametrize("change", [-1, 1, 1 << 40])
def test_a_size_that_is_a_lie_is_no_success(tmp_path: Path, here: Path, change: int) -> None:
    before = contents(here)
    with other_sftp_server(tmp_path / "server", files=sized(change)) as server:
        done = upload(here, server)
        assert done.error_code == "read_back_differs"
        assert payloads(server.root) == []
    assert contents(here) == before


class Flipping(asyncssh.SFTPServer):
    """Stores something else than it is sent."""

    def write(self, file_obj: Any, offset: int, data: bytes) -> Any:
        return super().write(file_obj, offset, bytes([data[0] ^ 1]) + data[1:] if b"manifest" not in file_obj.name else data)


def test_a_payload_that_reads_otherwise_than_it_was_sent_is_no_success(tmp_path: Path, here: Path) -> None:
    with other_sftp_server(tmp_path / "server", files=Flipping) as server:
        done = upload(here, server, verify="sha256")
        assert done.error_code == "read_back_differs"
        assert payloads(server.root) == []


def test_a_check_whose_file_reads_otherwise_than_it_was_written_fails_and_leaves_nothing(tmp_path: Path) -> None:
    with other_sftp_server(tmp_path / "server", files=Flipping) as server:
        refused = check_login(server)
        assert refused.error_code == "read_back_differs"
        assert refused.result["failed_step"] == "read_back"
        assert list(server.root.iterdir()) == []


class Cutting(asyncssh.SFTPServer):
    """Closes the connection in the middle of a listing."""

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        yield asyncssh.SFTPName(b".", attrs=asyncssh.SFTPAttrs(permissions=0o40700))
        self.channel.get_connection().abort()


def test_a_connection_that_is_cut_while_listing_is_an_error(tmp_path: Path, here: Path) -> None:
    with other_sftp_server(tmp_path / "server", files=Cutting) as server:
        for outcome in (upload(here, server), run_module("backup_prune", sftp=server.options(), keep_last=1)):
            assert outcome.error_code == "connection_lost"
            assert "Traceback" not in outcome.stdout + outcome.stderr


class Refusing(asyncssh.SFTPServer):
    """Lets nobody remove anything."""

    def remove(self, path: bytes) -> Any:
        raise asyncssh.SFTPPermissionDenied("no deletions here")


def test_an_account_that_may_not_delete_takes_uploads_and_says_what_was_not_deleted(tmp_path: Path, here: Path) -> None:
    with other_sftp_server(tmp_path / "server", files=Refusing, posix_rename=True) as server:
        assert upload(here, server).changed
        assert not upload(here, server).changed
        done = run_module("backup_prune", sftp=server.options(), keep_last=1)
        assert done.error_code == "delete_failed"
        assert "no deletions here" in done.msg
        assert len(payloads(server.root)) == 2


def test_a_server_that_takes_no_more_is_left_in_time_whatever_is_in_the_buffers(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    name = put_backup(here, ago(hours=1), os.urandom(30_000_000))
    with other_sftp_server(tmp_path / "server", window=64 << 20) as server:
        with failing_network(server.port, 1_000_000, "to server", "stall") as proxy:
            outcome = upload(here, server, sftp={"port": proxy.port, "timeout": "2s"})
            assert proxy.failed.is_set()
        assert outcome.error_code in ("connection_timeout", "connection_lost")
        assert upload(here, server).result["resumed"] == [name]

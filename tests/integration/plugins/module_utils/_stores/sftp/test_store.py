"""A directory on a real OpenSSH server as a store: what it does, and whom it trusts."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils import _errors as errors
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.packets import Reply, Request
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.settings import SftpSettings
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.store import SftpStore
from ansible_collections.lastgood.database.tests.support.backups import ago, put_backup
from ansible_collections.lastgood.database.tests.support.other_sftp import other_sftp_server
from ansible_collections.lastgood.database.tests.support.sftp import PASSPHRASE, SftpServer, make_key, sftp_server

Open = Callable[..., SftpStore]


@pytest.fixture
def open_store(sftp: SftpServer, tmp_path: Path) -> Iterator[Open]:
    made: list[SftpStore] = []

    def open_it(server: SftpServer = sftp, directory: Path = tmp_path, **over: Any) -> SftpStore:
        made.append(SftpStore(SftpSettings(**server.options(directory, **over))))
        return made[-1]

    yield open_it
    for store in made:
        store.close()


@pytest.fixture
def store(open_store: Open) -> SftpStore:
    return open_store()


def refusal(work: Callable[[], object], kind: type[errors.BackupError]) -> errors.BackupError:
    with pytest.raises(kind) as caught:
        work()
    assert caught.value.__class__ is kind
    assert caught.value.remedy
    return caught.value


class TestFiles:
    """What is there, and what is written."""

    def test_it_is_a_store(self, store: SftpStore) -> None:
        one: Store = store
        assert one.exists()

    def test_the_catalog_finds_what_it_finds_in_a_directory(self, store: SftpStore, tmp_path: Path) -> None:
        for hours in range(300):
            put_backup(tmp_path, ago(hours=hours), b"x" * hours)
        (tmp_path / "backup_link_2026-02-27_12-00-00.dump.gz").symlink_to("elsewhere")
        (tmp_path / "backup_dir_2026-02-27_12-00-00.dump.gz").mkdir()
        (tmp_path / "two\nlines").touch()
        here = {backup.name: backup._replace(path="") for backup in Catalog(LocalStore(str(tmp_path))).select(EVERYTHING)}
        there = {backup.name: backup._replace(path="") for backup in Catalog(store).select(EVERYTHING)}
        assert there == here
        assert len(here) == 300

    def test_a_file_is_read_up_to_the_limit_and_from_end_to_end(self, store: SftpStore, tmp_path: Path) -> None:
        data = os.urandom(3_000_001)
        (tmp_path / "large").write_bytes(data)
        (tmp_path / "empty").touch()
        assert b"".join(bytes(chunk) for chunk in store.chunks("large")) == data
        assert b"".join(bytes(chunk) for chunk in store.chunks("empty")) == b""
        assert list(store.read_many(["large", "missing", "empty"], 70_000)) == [data[:70_000], None, b""]

    def test_of_a_manifest_of_a_gigabyte_no_more_is_read_than_the_limit(self, store: SftpStore, tmp_path: Path) -> None:
        with (tmp_path / "huge").open("wb") as file:
            file.truncate(2**30)
        assert store.read("huge", 65_537) == bytes(65_537)

    @pytest.mark.parametrize("kind", ["manifests", "facts"])
    def test_of_many_files_many_are_asked_for_at_a_time(
        self, store: SftpStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        names = [str(number) for number in range(200)]
        for name in names:
            (tmp_path / name).write_text(name)
        waiting, most = 0, 0
        session = store.session
        send, read = session.send, session.read

        def send_one_more(request: Request) -> int:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            return send(request)

        def read_one_less() -> Reply:
            nonlocal waiting
            waiting -= 1
            return read()

        monkeypatch.setattr(session, "send", send_one_more)
        monkeypatch.setattr(session, "read", read_one_less)
        if kind == "manifests":
            assert list(store.read_many(names, 100)) == [name.encode() for name in names]
        else:
            assert [facts.size_bytes for facts in store.facts_of(names) if facts is not None] == [len(name) for name in names]
        assert waiting == 0
        assert most >= 32

    def test_reading_may_end_early(self, store: SftpStore, tmp_path: Path) -> None:
        (tmp_path / "large").write_bytes(bytes(9_000_000))
        chunks = store.chunks("large")
        next(chunks)
        del chunks
        assert store.names() == ["large"]

    def test_a_file_is_written_for_its_owner_alone_and_never_over_another(self, store: SftpStore, tmp_path: Path) -> None:
        store.write("one", b"data" * 20_000)
        assert (tmp_path / "one").read_bytes() == b"data" * 20_000
        assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
        refusal(lambda: store.write("one", b"other"), errors.StoreFailed)
        (tmp_path / "link").symlink_to("nowhere")
        refusal(lambda: store.write("link", b"other"), errors.StoreFailed)

    def test_a_rename_refuses_to_replace_and_a_replacement_is_whole(self, store: SftpStore, tmp_path: Path) -> None:
        store.write("one", b"1")
        store.write("two", b"2")
        refusal(lambda: store.rename("one", "two"), errors.StoreFailed)
        store.rename("one", "three")
        store.replace("two", b"new")
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"two": b"new", "three": b"1"}
        assert (store.remove("two"), store.remove("two"), store.taken("three")) == (True, False, True)

    def test_two_who_add_one_name_never_give_it_the_others_content(
        self, store: SftpStore, open_store: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = open_store()
        rename = store.rename

        def lose_the_connection(name: str, new_name: str) -> None:
            raise errors.ConnectionLost("The cable is out.", "Put it back.")

        def rename_after_the_other_has_written(name: str, new_name: str) -> None:
            refusal(lambda: other.add("one", b"theirs"), errors.ConnectionLost)
            rename(name, new_name)

        monkeypatch.setattr(other, "rename", lose_the_connection)
        monkeypatch.setattr(store, "rename", rename_after_the_other_has_written)
        store.add("one", b"ours")
        assert (tmp_path / "one").read_bytes() == b"ours"

    def test_the_directory_is_made_private_with_those_above_it(self, open_store: Open, tmp_path: Path) -> None:
        store = open_store(directory=tmp_path / "a" / "b")
        assert not store.exists()
        refusal(store.names, errors.DirectoryMissing)
        store.ensure()
        assert [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a", "a/b")] == [0o700, 0o700]
        assert store.names() == []
        (tmp_path / "file").touch()
        refusal(open_store(directory=tmp_path / "file").exists, errors.NotADirectory)

    def test_free_space_is_told(self, store: SftpStore, tmp_path: Path) -> None:
        free = store.free_bytes()
        space = os.statvfs(tmp_path)
        assert free is not None
        assert abs(free - space.f_bavail * space.f_frsize) < 2**30


class TestTrust:
    """Which server is the right one."""

    def test_a_key_that_is_not_known_is_refused_and_accept_new_notes_it(self, open_store: Open, tmp_path: Path) -> None:
        file = tmp_path / "folder" / "known_hosts"
        error = refusal(lambda: open_store(known_hosts_file=str(file)).session, errors.HostKeyUnknown)
        assert error.details["offered"] in str(error)
        assert not file.exists()
        for _number in range(2):
            open_store(known_hosts_file=str(file), host_key_policy="accept_new").exists()
        assert len(file.read_text().splitlines()) == 1
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert open_store(known_hosts_file=str(file)).exists()

    @pytest.mark.parametrize("policy", ["strict", "accept_new"])
    def test_a_changed_key_is_refused_and_both_are_named(
        self, sftp: SftpServer, open_store: Open, tmp_path: Path, policy: str
    ) -> None:
        other = make_key(tmp_path / "other", "ed25519")
        kind, blob = Path(f"{other}.pub").read_text().split()[:2]
        known = f"[127.0.0.1]:{sftp.port} {kind} {blob}\n"
        file = tmp_path / "known_hosts"
        file.write_text(known)
        error = refusal(lambda: open_store(known_hosts_file=str(file), host_key_policy=policy).session, errors.HostKeyChanged)
        said = subprocess.run(("ssh-keygen", "-lf", f"{other}.pub"), capture_output=True, text=True, check=True).stdout.split()[1]
        assert said in str(error)
        assert error.details["offered"] in str(error)
        assert file.read_text() == known

    def test_hashed_names_patterns_and_other_types_of_key_are_understood(
        self, sftp: SftpServer, open_store: Open, tmp_path: Path
    ) -> None:
        file = tmp_path / "known_hosts"
        file.write_text(f"[127.0.0.1]:{sftp.port} {sftp.host_key('rsa')}\n")
        assert open_store(known_hosts_file=str(file)).exists()
        subprocess.run(("ssh-keygen", "-Hf", file), check=True, capture_output=True)
        assert file.read_text().startswith("|1|")
        assert open_store(known_hosts_file=str(file)).exists()
        file.write_text(f"*.example.org,[127.0.0.*]:{sftp.port} {sftp.host_key()}\n")
        assert open_store(known_hosts_file=str(file)).exists()
        file.write_text(f"![127.0.0.1]:{sftp.port},[127.*]:* {sftp.host_key()}\n@cert-authority * {sftp.host_key()}\n")
        assert "authority" in str(refusal(lambda: open_store(known_hosts_file=str(file)).session, errors.HostKeyUnknown))
        file.write_text(f"* {sftp.host_key()}\n@revoked * {sftp.host_key()}\n")
        refusal(lambda: open_store(known_hosts_file=str(file)).session, errors.HostKeyRevoked)

    def test_a_pinned_key_needs_no_file(self, sftp: SftpServer, open_store: Open) -> None:
        none = {"known_hosts_file": "/nonexistent", "host_key_policy": "pinned"}
        assert open_store(**none, host_key=sftp.host_key("rsa")).exists()
        offered = refusal(lambda: open_store(known_hosts_file="/nonexistent").session, errors.HostKeyUnknown).details["offered"]
        assert open_store(**none, host_key=offered).exists()
        refusal(lambda: open_store(**none, host_key="SHA256:" + "A" * 43).session, errors.HostKeyChanged)

    def test_a_key_that_nobody_checks_is_warned_about(self, open_store: Open) -> None:
        store = open_store(known_hosts_file="/nonexistent", host_key_policy="off")
        assert store.exists()
        assert "was not checked" in store.warnings[0]


class TestLogin:
    """Who we are there."""

    @pytest.mark.parametrize("passphrase", ["", PASSPHRASE], ids=["open", "locked"])
    @pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    def test_every_kind_of_key_opens_as_a_file_and_as_text(
        self, sftp: SftpServer, open_store: Open, tmp_path: Path, kind: str, form: str, passphrase: str
    ) -> None:
        if kind == "ed25519" and form != "RFC4716":
            form = "RFC4716"  # ssh-keygen writes it in no other
        key = make_key(tmp_path / "key", kind, "-m", form, passphrase=passphrase)
        with (sftp.folder / "authorized_keys").open("a") as file:
            file.write(Path(f"{key}.pub").read_text())
        secret = {"key_passphrase": passphrase} if passphrase else {}
        assert open_store(private_key_file=str(key), **secret).exists()
        assert open_store(private_key_file=None, private_key=key.read_text().strip(), **secret).exists()
        if passphrase:
            for wrong in (None, "not it"):
                store = open_store(private_key_file=str(key), key_passphrase=wrong)
                refusal(store.exists, errors.PassphraseWrong)

    def test_a_stranger_is_sent_away_and_told_how_one_gets_in(self, open_store: Open, tmp_path: Path) -> None:
        key = make_key(tmp_path / "key", "ed25519")
        error = refusal(lambda: open_store(private_key_file=str(key)).session, errors.AuthenticationFailed)
        assert error.details["methods"] == ["publickey"]

    def test_what_is_no_key_is_told_of(self, open_store: Open, tmp_path: Path) -> None:
        (tmp_path / "none").write_text("no key")
        for path in (tmp_path / "none", tmp_path / "missing", tmp_path):
            refusal(lambda path=path: open_store(private_key_file=str(path)).session, errors.KeyUnreadable)  # type: ignore[misc]

    def test_the_library_s_log_stays_silent_whoever_listens(
        self, open_store: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with (
            other_sftp_server(tmp_path / "server") as server,
            contextlib.closing(open_store(server, "/", timeout=30.0)) as store,
        ):
            store.write("one", b"data")
        assert (server.root / "one").read_bytes() == b"data"
        assert [record for record in caplog.records if record.name.startswith("paramiko")] == []


class TestFaults:
    """What can be in the way."""

    def test_a_name_without_an_address(self, open_store: Open) -> None:
        refusal(lambda: open_store(host="no such host.invalid").session, errors.HostNotFound)

    def test_nobody_listens(self, open_store: Open) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            refusal(lambda: open_store(port=bound.getsockname()[1]).session, errors.ConnectionRefused)

    def test_a_server_that_says_nothing(self, open_store: Open) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            refusal(lambda: open_store(port=silent.getsockname()[1], timeout=1.0).session, errors.BannerMissing)

    def test_a_server_without_sftp(self, open_store: Open) -> None:
        with sftp_server("") as server:
            refusal(lambda: open_store(server).session, errors.SftpUnavailable)

    def test_a_disk_that_is_full(self, open_store: Open, small_disk: Callable[[str], Path]) -> None:
        store = open_store(directory=small_disk("size=64k"))
        refusal(lambda: store.replace("one", bytes(200_000)), errors.NoSpace)
        assert store.names() == []

"""Servers that do one thing otherwise than others: what is reported is what the server shows afterwards."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from ansible_collections.lastgood.database.tests.support.backups import ago, put_backup
from ansible_collections.lastgood.database.tests.support.modules import Host, Outcome, run_module
from ansible_collections.lastgood.database.tests.support.observe import assert_whole, manifest, payloads
from ansible_collections.lastgood.database.tests.support.other_sftp import other_sftp_server
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer, make_key


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    put_backup(folder, ago(hours=1), os.urandom(400_000))
    return folder


def upload(here: Path, sftp: dict[str, Any], **over: Any) -> Outcome:
    return run_module("backup_upload", directory=str(here), sftp=sftp, **over)


class LosesPayloads(asyncssh.SFTPServer):
    """Has a payload collected as soon as it has its name."""

    def rename(self, oldpath: bytes, newpath: bytes) -> Any:
        if newpath.endswith(b".json"):
            return super().rename(oldpath, newpath)
        return super().remove(oldpath)


class LosesManifests(asyncssh.SFTPServer):
    """Has a manifest collected as soon as its payload has its name."""

    def rename(self, oldpath: bytes, newpath: bytes) -> Any:
        super().rename(oldpath, newpath)
        if not newpath.endswith(b".json"):
            super().remove(newpath + b".manifest.json")


class RenamesNothing(asyncssh.SFTPServer):
    """Says that it gave a file its name, and did not."""

    def rename(self, oldpath: bytes, newpath: bytes) -> Any:
        return None


class StoresZeros(asyncssh.SFTPServer):
    """Stores as many bytes as it is sent, and none of them."""

    def write(self, file_obj: Any, offset: int, data: bytes) -> Any:
        return super().write(file_obj, offset, bytes(len(data)))


@pytest.mark.parametrize("files", [LosesPayloads, LosesManifests, RenamesNothing, StoresZeros])
def test_what_the_server_does_not_show_under_its_final_name_was_not_sent(
    tmp_path: Path, here: Path, files: type[asyncssh.SFTPServer]
) -> None:
    with other_sftp_server(tmp_path / "server", files=files) as server:
        outcome = upload(here, server.options())
        assert outcome.error_code == "read_back_differs"
        assert (outcome.result["uploaded"], outcome.result["changed"]) == ([], False)
        [failed] = outcome.result["failed_uploads"]
        assert failed["error"]["code"] == "read_back_differs"


def refusing(*methods: str, error: type[asyncssh.SFTPError] = asyncssh.SFTPOpUnsupported) -> type[asyncssh.SFTPServer]:
    """A server that refuses one kind of request."""

    def refuse(self: asyncssh.SFTPServer, *_arguments: Any) -> Any:
        raise error("this server does not do that")

    return type("No" + "".join(methods), (asyncssh.SFTPServer,), dict.fromkeys(methods, refuse))


class FailsWhereNothingIs(asyncssh.SFTPServer):
    """Says Failure where there is no such file."""

    def lstat(self, path: bytes) -> Any:
        if not os.path.lexists(self.map_path(path)):
            raise asyncssh.SFTPFailure("Failure")
        return super().lstat(path)


class TellsNoTypes(asyncssh.SFTPServer):
    """Gives sizes and nothing else."""

    def lstat(self, path: bytes) -> Any:
        return asyncssh.SFTPAttrs(size=super().lstat(path).st_size)  # type: ignore[union-attr]

    def stat(self, path: bytes) -> Any:
        return asyncssh.SFTPAttrs(size=super().stat(path).st_size)  # type: ignore[union-attr]


class OpensOnlyFromTheBeginning(asyncssh.SFTPServer):
    """Writes to no file that it would not truncate."""

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if pflags & asyncssh.FXF_WRITE and not pflags & asyncssh.FXF_TRUNC:
            raise asyncssh.SFTPOpUnsupported("without truncation it does not open a file")
        return super().open(path, pflags, attrs)


@pytest.mark.parametrize("posix_rename", [False, True], ids=["without posix-rename", "with posix-rename"])
@pytest.mark.parametrize(
    ("files", "works"),
    [
        (asyncssh.SFTPServer, True),
        (TellsNoTypes, True),
        (refusing("posix_rename"), True),
        (refusing("fstat"), True),
        (refusing("rename"), False),
        (refusing("lstat", error=asyncssh.SFTPPermissionDenied), False),
        (FailsWhereNothingIs, False),
        (OpensOnlyFromTheBeginning, False),
        (RenamesNothing, False),
        (LosesPayloads, False),
    ],
    ids=[
        "plain",
        "no types",
        "no posix-rename",
        "no fstat",
        "no rename",
        "no lstat",
        "failure",
        "truncates",
        "renames nothing",
        "loses",
    ],
)
def test_a_check_passes_where_an_upload_does_and_nowhere_else(
    tmp_path: Path, here: Path, files: type[asyncssh.SFTPServer], works: bool, posix_rename: bool
) -> None:
    with other_sftp_server(tmp_path / "server", files=files, posix_rename=posix_rename) as server:
        checked = run_module("sftp_check", server.options())
        assert list(server.root.iterdir()) == [] or files is RenamesNothing
        for path in server.root.iterdir():
            path.unlink()
        sent = upload(here, server.options())
        assert (checked.status == 0, sent.status == 0) == (works, works)
        for outcome in (checked, sent):
            assert works or outcome.error_code is not None
            assert "Traceback" not in outcome.stdout + outcome.stderr


def test_a_posix_rename_that_is_refused_has_a_fallback_in_every_module(tmp_path: Path, here: Path) -> None:
    with other_sftp_server(tmp_path / "server", files=refusing("posix_rename"), posix_rename=True) as server:
        assert upload(here, server.options()).changed
        verified = run_module("backup_verify", sftp=server.options(), level="checksum")
        assert verified.error_code == "verification_failed"  # for it is no gzip; what counts is that this is noted
        [payload] = payloads(server.root)
        assert manifest(payload)["verification"]["verdict"] == "failed"
        assert_whole(server.root)


class DeletesNothing(asyncssh.SFTPServer):
    """Says that it deleted a file, and did not."""

    def remove(self, path: bytes) -> Any:
        return None


def test_what_the_server_still_shows_was_not_deleted(tmp_path: Path, here: Path) -> None:
    put_backup(here, ago(minutes=1), b"newer")
    with other_sftp_server(tmp_path / "server") as server:
        upload(here, server.options())
        before = {path.name: path.read_bytes() for path in server.root.iterdir()}
    with other_sftp_server(tmp_path / "other", files=DeletesNothing) as server:
        for name, data in before.items():
            (server.root / name).write_bytes(data)
        pruned = run_module("backup_prune", sftp=server.options(), keep_last=1)
        assert pruned.error_code == "delete_failed"
        assert (pruned.result["changed"], pruned.result["deleted"]) == (False, [])


def quota(most: int, error: type[asyncssh.SFTPError], words: str) -> type[asyncssh.SFTPServer]:
    """A server that takes so many bytes, and no more."""

    class Quota(asyncssh.SFTPServer):
        written = 0

        def write(self, file_obj: Any, offset: int, data: bytes) -> Any:
            Quota.written += len(data)
            if Quota.written > most:
                raise error(words)
            return super().write(file_obj, offset, data)

    return Quota


@pytest.mark.parametrize(
    ("error", "words"),
    [(asyncssh.SFTPFailure, "Failure"), (asyncssh.SFTPFailure, "Fehler"), (asyncssh.SFTPQuotaExceeded, "Quota exceeded")],
    ids=["failure", "failure in another language", "quota exceeded"],
)
def test_a_quota_that_is_used_up_is_a_lack_of_room(
    tmp_path: Path, here: Path, error: type[asyncssh.SFTPError], words: str
) -> None:
    with other_sftp_server(tmp_path / "server", files=quota(100_000, error, words)) as server:
        outcome = upload(here, server.options())
        assert outcome.error_code == "no_space"
        assert payloads(server.root) == []


def test_a_write_that_fails_on_a_disk_with_room_is_no_lack_of_it(tmp_path: Path, here: Path) -> None:
    class Failing(asyncssh.SFTPServer):
        def write(self, file_obj: Any, offset: int, data: bytes) -> Any:
            if file_obj.name.endswith(b".partial") and b"trial" not in file_obj.name:
                raise asyncssh.SFTPFailure("Failure")
            return super().write(file_obj, offset, data)

    with other_sftp_server(tmp_path / "server", files=Failing) as server:
        assert upload(here, server.options()).error_code == "store_failed"
        assert not [path for path in server.root.iterdir() if "trial" in path.name]


class MakesItFirst(asyncssh.SFTPServer):
    """Each directory that one asks for, another host has made a moment before."""

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> Any:
        os.mkdir(self.map_path(path))
        raise asyncssh.SFTPFailure("Failure")


def test_a_directory_that_another_host_makes_at_the_same_time_is_made(tmp_path: Path, here: Path) -> None:
    with other_sftp_server(tmp_path / "server", files=MakesItFirst) as server:
        assert upload(here, server.options("/nightly/pg/h1", create_directory=True)).changed
        assert_whole(server.root / "nightly" / "pg" / "h1")


def test_five_hosts_that_make_one_missing_parent_all_send(sftp: SftpServer, here: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(5) as pool:
        directories = [tmp_path / "nightly" / "pg" / f"h{number}" for number in range(5)]
        outcomes = pool.map(lambda directory: upload(here, sftp.options(directory, create_directory=True)), directories)
        assert [outcome.status for outcome in outcomes] == [0] * 5


@pytest.mark.parametrize(("remote", "below"), [("~", "."), ("~/", "."), ("~/backups", "backups"), ("~//a/b", "a/b")])
def test_a_tilde_is_the_account_s_home(tmp_path: Path, here: Path, remote: str, below: str) -> None:
    with other_sftp_server(tmp_path / "server") as server:
        assert upload(here, server.options(remote, create_directory=True)).changed
        assert len(payloads(server.root / below)) == 1
        assert not (server.root / "~").exists()


def test_the_home_of_another_account_is_refused(tmp_path: Path, here: Path) -> None:
    with other_sftp_server(tmp_path / "server") as server:
        assert upload(here, server.options("~db8/backups", create_directory=True)).error_code == "argument_invalid"
        assert list(server.root.iterdir()) == []


# --- Keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_pinned_fingerprint_may_be_of_any_of_the_server_s_keys(sftp: SftpServer, tmp_path: Path, kind: str) -> None:
    pinned = sftp.fingerprint(kind)
    outcome = run_module("sftp_check", sftp.options(tmp_path, host_key_policy="pinned", host_key=pinned))
    assert outcome.status == 0
    assert outcome.result["host_key"] == sftp.host_key(kind)


def test_a_pinned_fingerprint_of_none_of_its_keys_raises_the_alarm(sftp: SftpServer, tmp_path: Path) -> None:
    other = "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGLgmKcmkWMGr4nqAjk"
    outcome = run_module("sftp_check", sftp.options(tmp_path, host_key_policy="pinned", host_key=other))
    assert (outcome.error_code, outcome.result["failed_step"]) == ("host_key_changed", "host_key")


def with_default_keys(home: Path, *, locked: bool) -> Host:
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700)
    make_key(ssh / "id_ed25519", "ed25519", passphrase="secret words" if locked else "")
    if not locked:
        (ssh / "id_ed25519").write_text("this is no key\n")
    make_key(ssh / "id_rsa", "rsa")
    return Host(environment={"HOME": str(home), "SSH_AUTH_SOCK": str(home / "none")})


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "unreadable"])
def test_a_default_key_that_can_not_be_used_does_not_end_the_search(tmp_path: Path, locked: bool) -> None:
    host = with_default_keys(tmp_path, locked=locked)
    with other_sftp_server(tmp_path / "server", ways=(), keys=tmp_path / ".ssh" / "id_rsa.pub") as server:
        assert run_module("sftp_check", server.options(password=None), host=host).status == 0
    stranger = make_key(tmp_path / "stranger", "ed25519")
    with other_sftp_server(tmp_path / "strict", ways=(), keys=Path(f"{stranger}.pub")) as server:
        refused = run_module("sftp_check", server.options(password=None), host=host)
        assert refused.error_code == "authentication_failed"
        assert "id_ed25519" in refused.msg  # the user learns which key was not tried

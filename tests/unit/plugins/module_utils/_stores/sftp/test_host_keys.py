"""Which keys of servers are known: by lines as OpenSSH has them, and by lines that nobody should have written."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import hmac
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    HostKeyChanged,
    HostKeyRevoked,
    HostKeyUnknown,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.host_keys import (
    USER_FILE,
    HostKey,
    KnownHosts,
    check_pinned,
    host_name,
    read_known_hosts,
    remember,
)

KEY = HostKey("ssh-ed25519", b"one")
OTHER = HostKey("ssh-ed25519", b"other")


def known(tmp_path: Path, *lines: str, name: str = "db7") -> KnownHosts:
    file = tmp_path / "known_hosts"
    file.write_text("\n".join(lines), encoding="utf-8")
    return read_known_hosts([str(file), str(tmp_path / "missing")], name)


def hashed(name: str, version: int = 1) -> str:
    salt = b"salt"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|{version}|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(("host", "port", "name"), [("DB7", 22, "db7"), ("DB7", 2222, "[db7]:2222"), ("::1", 2222, "[::1]:2222")])
def test_a_host_is_called_as_openssh_calls_it(host: str, port: int, name: str) -> None:
    assert host_name(host, port) == name


@pytest.mark.parametrize("patterns", ["db7", "DB7", "db?", "*", "other,db7", "!db8,db*", hashed("db7")])
def test_a_line_is_about_the_hosts_that_it_names(tmp_path: Path, patterns: str) -> None:
    assert known(tmp_path, f"{patterns} {KEY.line} a comment").keys == (KEY,)


@pytest.mark.parametrize(
    "patterns", ["db", "db70", "!db7,*", "*,!db7", "[db7]:22", "db[0-9]", hashed("db8"), "|1|x", hashed("db7", 2)]
)
def test_a_line_is_about_no_other_host(tmp_path: Path, patterns: str) -> None:
    assert known(tmp_path, f"{patterns} {KEY.line}").keys == ()


@pytest.mark.parametrize("line", ["", "# db7 x", "db7", "db7 ssh-ed25519", "db7 ssh-ed25519 no/base64!", "@unknown db7 a b"])
def test_a_line_that_says_nothing_spoils_no_other(tmp_path: Path, line: str) -> None:
    assert known(tmp_path, line, f"db7 {KEY.line}").keys == (KEY,)


@given(st.text(max_size=100))
def test_whatever_a_line_says_it_does_not_break_the_reading(tmp_path_factory: pytest.TempPathFactory, line: str) -> None:
    assert KEY in known(tmp_path_factory.mktemp("any"), line, f"db7 {KEY.line}").keys


def test_the_known_key_is_accepted_and_another_is_refused_with_both_named(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"db7 {KEY.line}")
    hosts.check("db7", KEY)
    with pytest.raises(HostKeyChanged) as caught:
        hosts.check("db7", OTHER)
    assert KEY.fingerprint in str(caught.value)
    assert OTHER.fingerprint in str(caught.value)


def test_a_revoked_key_is_refused_though_it_is_known(tmp_path: Path) -> None:
    with pytest.raises(HostKeyRevoked):
        known(tmp_path, f"db7 {KEY.line}", f"@revoked * {KEY.line}").check("db7", KEY)


def test_an_authority_s_key_is_no_host_s_key_and_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(HostKeyUnknown, match="authority"):
        known(tmp_path, f"@cert-authority * {KEY.line}").check("db7", KEY)


@pytest.mark.parametrize("pinned", [KEY.line, f"  {KEY.line} comment\n", KEY.fingerprint, f"{KEY.fingerprint}="])
def test_a_pinned_key_is_a_line_or_a_fingerprint(pinned: str) -> None:
    check_pinned(pinned, "db7", KEY)
    with pytest.raises(HostKeyChanged):
        check_pinned(pinned, "db7", OTHER)


@pytest.mark.parametrize("pinned", ["", "ssh-ed25519", "ssh-ed25519 no/base64!", "MD5:00:11"])
def test_what_is_no_key_can_not_be_pinned(pinned: str) -> None:
    with pytest.raises(ArgumentInvalid):
        check_pinned(pinned, "db7", KEY)


@pytest.mark.parametrize("before", ["", "# a line\n", "# a line without an end"])
def test_a_key_is_remembered_on_a_line_of_its_own(tmp_path: Path, before: str) -> None:
    file = tmp_path / "folder" / "known_hosts"
    if before:
        file.parent.mkdir()
        file.write_text(before)
    remember(str(file), "db7", KEY)
    remember(str(file), "db7", OTHER)
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert lines == [f"db7 {KEY.line}", f"db7 {OTHER.line}"]
    if not before:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_user_without_a_home_gets_no_folder_called_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it does without HOME and without an entry in passwd
    with pytest.raises(ArgumentInvalid, match="known_hosts_file"):
        remember(USER_FILE, "db7", KEY)
    assert read_known_hosts([USER_FILE], "db7") == KnownHosts((), (), False)
    assert not list(tmp_path.iterdir())

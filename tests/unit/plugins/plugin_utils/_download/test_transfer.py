"""Pieces of a file through a shell and a connection that copies: what arrives, what stays on the host, what a full disk says."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.lastgood.database.plugins.module_utils._errors import ConnectionLost, NoSpace, StoreFailed
from ansible_collections.lastgood.database.plugins.plugin_utils._download import transfer
from ansible_collections.lastgood.database.plugins.plugin_utils._download.transfer import Transfer

DATA = random.Random(3).randbytes(5 * 1024 * 1024 + 17)


class Connection:
    """Fetches files of this machine."""

    transport = "local"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.fetched: list[tuple[str, str]] = []

    def fetch_file(self, source: str, destination: str) -> None:
        self.fetched.append((source, destination))
        if self.error is not None:
            raise self.error
        shutil.copyfile(source, destination)


class OpenSsh(Connection):
    """Has the options of Ansible's connection ssh, and remembers how they were at each transfer."""

    transport = "ssh"

    def __init__(self, **options: Any) -> None:
        super().__init__()
        names = {"host": "db7", "port": 22, "remote_user": "x", "control_path": None}
        self.options = {**names, "ssh_args": "-C -o ControlMaster=auto", "ssh_transfer_method": "smart", **options}
        self.seen: list[dict[str, Any]] = []

    def get_option(self, name: str) -> Any:
        return self.options[name]

    def set_option(self, name: str, value: Any) -> None:
        self.options[name] = value

    def fetch_file(self, source: str, destination: str) -> None:
        self.seen.append(dict(self.options))
        super().fetch_file(source, destination)


class Shell:
    """Executes commands on this machine, some words of which a test may replace."""

    def __init__(self, replace: tuple[str, str] = ("", "")) -> None:
        self.replace = replace
        self.commands: list[tuple[str, bool]] = []

    def __call__(self, command: str, *, sudoable: bool) -> Mapping[str, Any]:
        self.commands.append((command, sudoable))
        pattern, words = self.replace
        changed = re.sub(pattern, words, command) if pattern else command
        done = subprocess.run(("sh", "-c", changed), capture_output=True, text=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PIECE_BYTES", 2 * 1024 * 1024)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "it's a file"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("offset", [0, 1, 1024 * 1024, 2 * 1024 * 1024 + 5, len(DATA) - 1, len(DATA)])
def test_the_pieces_are_the_file_from_the_offset_on(source: Path, offset: int) -> None:
    connection, shell = Connection(), Shell()
    with Transfer(connection, shell) as moved:
        assert b"".join(map(bytes, moved.chunks(str(source), len(DATA), offset))) == DATA[offset:]
    places = {Path(piece).parent for piece, _here in connection.fetched}
    assert [path for path in places if path.exists()] == []
    assert len(places) == (offset < len(DATA))
    assert all(not Path(here).exists() for _piece, here in connection.fetched)
    # Only the copy itself is done as the user that the task becomes.
    assert {sudoable for command, sudoable in shell.commands if "dd if=" in command} <= {True}
    assert not any(sudoable for command, sudoable in shell.commands if "dd if=" not in command)


def test_only_its_owner_can_read_a_piece_and_nobody_else_list_the_folder(source: Path) -> None:
    modes = []

    class Looking(Connection):
        def fetch_file(self, source: str, destination: str) -> None:
            modes.append((Path(source).stat().st_mode & 0o777, Path(source).parent.stat().st_mode & 0o777))
            super().fetch_file(source, destination)

    with Transfer(Looking(), Shell()) as moved:
        list(moved.chunks(str(source), len(DATA), 0))
    assert set(modes) == {(0o622, 0o711)}


def test_a_file_that_became_shorter_ends_the_stream(source: Path) -> None:
    with Transfer(Connection(), Shell()) as moved:
        assert b"".join(map(bytes, moved.chunks(str(source), len(DATA) + 9_000_000, 0))) == DATA


def test_a_full_disk_of_the_host_is_no_space_and_nothing_is_left(source: Path) -> None:
    with pytest.raises(NoSpace, match="/var/tmp"), Transfer(Connection(), Shell((r"of=\S+", "of=/dev/full"))) as moved:
        list(moved.chunks(str(source), len(DATA), 0))


def test_a_file_that_may_not_be_read_is_named(source: Path) -> None:
    with pytest.raises(StoreFailed, match="gone"), Transfer(Connection(), Shell()) as moved:
        list(moved.chunks(f"{source}.gone", len(DATA), 0))


def test_a_host_without_a_place_for_pieces_says_so(source: Path) -> None:
    with pytest.raises(StoreFailed, match="/var/tmp"), Transfer(Connection(), Shell(("mkdir ", "mkdir /missing"))) as moved:
        list(moved.chunks(str(source), len(DATA), 0))


def test_a_readable_file_is_fetched_whole_and_another_is_not(source: Path, tmp_path: Path) -> None:
    copy, link = tmp_path / "copy", tmp_path / "link"
    link.symlink_to(source)
    with Transfer(Connection(), Shell()) as moved:
        assert moved.fetch(str(source), str(copy), len(DATA))
        assert not moved.fetch(str(link), str(copy), len(DATA))
        assert not moved.fetch(f"{source}.missing", str(copy), len(DATA))
    assert copy.read_bytes() == DATA


def test_a_connection_that_may_write_beside_the_file_fetches_no_whole_one(source: Path, tmp_path: Path) -> None:
    connection = Connection()
    connection.transport = "community.docker.docker"
    with Transfer(connection, Shell()) as moved:
        assert not moved.fetch(str(source), str(tmp_path / "copy"), len(DATA))
        assert b"".join(map(bytes, moved.chunks(str(source), len(DATA), 0))) == DATA


def copy_by_a_program(source: str, destination: str) -> None:
    if subprocess.run(("cp", source, destination), check=False).returncode:
        raise AnsibleError("cp was ended")


@pytest.mark.parametrize("copy", [shutil.copyfile, copy_by_a_program])
def test_a_host_that_sends_more_than_it_said_does_not_fill_the_disk(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: Callable[[str, str], object]
) -> None:
    monkeypatch.setattr(transfer, "SLACK_BYTES", 1000)
    before, payload, sizes = resource.getrlimit(resource.RLIMIT_FSIZE), str(source), []

    class Sending(Connection):
        def fetch_file(self, source: str, destination: str) -> None:
            try:
                copy(payload, destination)  # whatever was asked for
            finally:
                sizes.append(Path(destination).stat().st_size)

    with Transfer(Sending(), Shell()) as moved:
        assert not moved.fetch(str(source), str(tmp_path / "copy"), 10_000)
        with pytest.raises(StoreFailed, match="could not fetch"):
            list(moved.chunks(str(source), 10_000, 0))
    assert max(sizes) <= 11_000
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before


@pytest.mark.parametrize("fetches", [True, False])
def test_a_broken_connection_is_reported_as_such(source: Path, tmp_path: Path, fetches: bool) -> None:
    with pytest.raises(ConnectionLost), Transfer(Connection(AnsibleConnectionFailure("gone")), Shell()) as moved:
        moved.fetch(str(source), str(tmp_path / "copy"), len(DATA)) if fetches else list(moved.chunks(str(source), len(DATA), 0))


def test_a_connection_that_fetches_no_file_leaves_it_to_pieces(source: Path, tmp_path: Path) -> None:
    with Transfer(Connection(AnsibleError("no sftp")), Shell()) as moved:
        assert not moved.fetch(str(source), str(tmp_path / "copy"), len(DATA))


def test_openssh_fetches_without_compression_over_a_connection_of_its_own(source: Path, tmp_path: Path) -> None:
    connection = OpenSsh()
    before = dict(connection.options)
    with Transfer(connection, Shell()) as moved:
        assert moved.fetch(str(source), str(tmp_path / "copy"), len(DATA))
    [seen] = connection.seen
    assert (seen["ssh_args"], seen["ssh_transfer_method"]) == ("-o ControlMaster=auto", "sftp")
    assert seen["control_path"].startswith("%(directory)s/")
    assert connection.options == before


def test_openssh_never_pipes_a_whole_file_which_it_would_hold_in_memory(source: Path, tmp_path: Path) -> None:
    connection = OpenSsh(ssh_transfer_method="piped", ssh_args=None)
    with Transfer(connection, Shell()) as moved:
        assert not moved.fetch(str(source), str(tmp_path / "copy"), len(DATA))
    assert connection.seen == []

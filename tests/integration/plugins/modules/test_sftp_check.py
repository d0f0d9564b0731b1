"""sftp_check as a process: the way to a real OpenSSH server, and each thing that can be in the way."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module
from ansible_collections.lastgood.database.tests.support.sftp import PASSPHRASE, SftpServer, make_key, sftp_server

CONNECTING = ["resolve", "connect", "host_key", "authenticate", "open_sftp"]
ALL = [*CONNECTING, "directory", "write", "read_back", "rename", "remove"]


def steps_of(outcome: Outcome) -> list[str]:
    return [step["name"] for step in outcome.result["steps"]]


def failure_of(options: dict[str, Any]) -> tuple[str, str | None]:
    outcome = run_module("sftp_check", options)
    steps = outcome.result["steps"]
    assert [step["ok"] for step in steps] == [True] * (len(steps) - 1) + [False]
    assert outcome.result["failed_step"] == steps[-1]["name"]
    assert outcome.stderr == ""
    return outcome.result["failed_step"], outcome.error_code


def test_every_step_is_taken_and_nothing_is_left(sftp: SftpServer, tmp_path: Path) -> None:
    outcome = run_module("sftp_check", sftp.options(tmp_path))
    assert not outcome.changed
    assert steps_of(outcome) == ALL
    result = outcome.result
    assert result["server_version"].startswith("SSH-2.0-OpenSSH")
    assert (result["host_key"], result["writable"]) == (sftp.host_key(), True)
    assert result["free_bytes"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_server_in_a_dict_is_the_same_server(sftp: SftpServer, tmp_path: Path) -> None:
    outcome = run_module("sftp_check", sftp=sftp.options(tmp_path / "a", create_directory=True))
    assert (outcome.changed, steps_of(outcome)) == (True, ALL)
    refused = run_module("sftp_check", {"sftp": sftp.options(tmp_path), "host": "elsewhere"})
    assert (refused.error_code, "sftp and host don't go together" in refused.msg) == ("argument_invalid", True)
    assert "The SFTP server lacks host and user and remote_directory." in run_module("sftp_check").msg


def test_check_mode_writes_nothing_and_foretells_a_directory_that_is_made(sftp: SftpServer, tmp_path: Path) -> None:
    options = sftp.options(tmp_path / "a" / "b", create_directory=True)
    foretold = run_module("sftp_check", options, check=True)
    assert (foretold.changed, steps_of(foretold), list(tmp_path.iterdir())) == (True, [*CONNECTING, "directory"], [])
    made = run_module("sftp_check", options)
    assert (made.changed, steps_of(made)) == (True, ALL)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert not run_module("sftp_check", options).changed


def test_each_thing_in_the_way_has_its_step_and_its_code(sftp: SftpServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sftp.port} {sftp.host_key()[:-4]}AAAA\n")
    locked, stranger = (make_key(tmp_path / name, "ed25519", passphrase=words) for name, words in (("l", PASSPHRASE), ("s", "")))

    def found(**over: Any) -> tuple[str, str | None]:
        return failure_of(sftp.options(over.pop("directory", tmp_path), **over))

    with socket.socket() as bound, socket.create_server(("127.0.0.1", 0)) as silent:
        bound.bind(("127.0.0.1", 0))
        assert found(host="nowhere.invalid") == ("resolve", "host_not_found")
        assert found(port=bound.getsockname()[1]) == ("connect", "connection_refused")
        assert found(port=silent.getsockname()[1], timeout="1s") == ("connect", "no_ssh_banner")
    assert found(known_hosts_file="/nonexistent") == ("host_key", "host_key_unknown")
    assert found(known_hosts_file=str(tmp_path / "known")) == ("host_key", "host_key_changed")
    assert found(private_key_file=str(tmp_path)) == ("authenticate", "key_unreadable")
    assert found(private_key_file=str(locked), key_passphrase="no") == ("authenticate", "wrong_passphrase")
    assert found(private_key_file=str(stranger)) == ("authenticate", "authentication_failed")
    assert found(directory=tmp_path / "missing") == ("directory", "directory_missing")
    assert found(directory=tmp_path / "file") == ("directory", "not_a_directory")


def test_a_server_that_takes_no_connection_is_left_in_time(sftp: SftpServer, tmp_path: Path) -> None:
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _number in range(5):  # the first one or two fill the queue
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        assert failure_of(sftp.options(tmp_path, port=full.getsockname()[1], timeout="1s")) == ("connect", "connection_timeout")


def test_a_server_without_sftp_and_a_full_disk_are_told_apart(
    sftp: SftpServer, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    with sftp_server("") as server:
        assert failure_of(server.options(tmp_path)) == ("open_sftp", "sftp_unavailable")
    disk = small_disk("size=32k")
    assert failure_of(sftp.options(disk)) == ("write", "no_space")
    assert list(disk.iterdir()) == []


def test_an_account_that_may_open_no_file_may_not_write(tmp_path: Path) -> None:
    with sftp_server("Subsystem sftp internal-sftp -P open") as server:
        assert failure_of(server.options(tmp_path)) == ("write", "directory_not_writable")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_signs_by_sha_1_alone_is_refused(tmp_path: Path) -> None:
    with sftp_server("Subsystem sftp internal-sftp\nHostKeyAlgorithms ssh-rsa") as server:
        assert failure_of(server.options(tmp_path)) == ("connect", "connection_failed")

"""The file of recipients may be in the directory of somebody else."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.recipients_file import read_recipients
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid


def test_a_pipe_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keys")
    with pytest.raises(ArgumentInvalid, match="no regular file"):
        read_recipients(str(tmp_path / "keys"))


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    keys = tmp_path / "keys"
    keys.write_text("age1x\n")
    keys.chmod(0o644)
    assert read_recipients(str(keys)) == b"age1x\n"
    keys.chmod(mode)
    with pytest.raises(ArgumentInvalid, match=rf"has mode {mode:04o}, so that others can change it. Run: chmod go-w {keys}"):
        read_recipients(str(keys))


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, user = tmp_path / "keys", os.geteuid()
    keys.write_text("age1x\n")
    keys.chmod(0o644)
    if user:
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    else:
        os.chown(keys, 4711, 4711)
    with pytest.raises(ArgumentInvalid, match=rf"belongs to the user with id {keys.stat().st_uid}. Run: chown root {keys}"):
        read_recipients(str(keys))

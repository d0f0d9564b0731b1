"""The file of recipients may be in the directory of somebody else."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.recipients_file import read_recipients
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.tests.support.places import only_root


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


def keys_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    keys = folder / "keys"
    keys.write_text("age1x\n")
    keys.chmod(0o644)
    return keys


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_a_folder_in_which_others_could_replace_the_file_is_refused(tmp_path: Path, mode: int) -> None:
    open_folder = tmp_path / "open"
    keys = keys_in(open_folder / "below")
    assert read_recipients(str(keys)) == b"age1x\n"
    open_folder.chmod(mode)
    with pytest.raises(
        ArgumentInvalid, match=rf"is below {open_folder}, which has mode {mode:04o}.* Run: chmod go-w {open_folder}"
    ):
        read_recipients(str(keys))


def test_in_a_sticky_folder_others_can_not_replace_the_file(tmp_path: Path) -> None:
    keys = keys_in(tmp_path / "sticky")
    keys.parent.chmod(0o1777)
    assert read_recipients(str(keys)) == b"age1x\n"


@only_root
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    keys = keys_in(tmp_path / "theirs")
    os.chown(keys.parent, 4711, 4711)
    with pytest.raises(ArgumentInvalid, match=rf"is reached by {keys.parent}, which belongs to the user with id 4711"):
        read_recipients(str(keys))


def test_a_link_is_followed_and_the_folders_that_it_leads_through_are_examined_too(tmp_path: Path) -> None:
    keys = keys_in(tmp_path / "open" / "below")
    (tmp_path / "links").mkdir()
    relative, absolute = tmp_path / "links" / "relative", tmp_path / "links" / "absolute"
    relative.symlink_to("../open/below/keys")
    absolute.symlink_to(tmp_path / "open")
    paths = [str(relative), str(absolute / "below" / "keys"), f"{absolute}/../open//below/./keys"]
    assert [read_recipients(path) for path in paths] == [b"age1x\n"] * 3
    keys.parents[1].chmod(0o777)
    for path in paths:
        with pytest.raises(ArgumentInvalid, match="so that others can put another file in its place"):
            read_recipients(path)


@only_root
def test_a_link_of_another_user_in_a_sticky_folder_is_refused(tmp_path: Path) -> None:
    keys = keys_in(tmp_path / "own")
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    link = tmp_path / "sticky" / "link"
    link.symlink_to(keys)
    assert read_recipients(str(link)) == b"age1x\n"
    os.chown(link, 4711, 4711, follow_symlinks=False)
    with pytest.raises(ArgumentInvalid, match=rf"is reached by {link}, which belongs to the user with id 4711"):
        read_recipients(str(link))


def test_links_that_go_round_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(ArgumentInvalid, match="can't be read: Too many levels of symbolic links"):
        read_recipients(str(tmp_path / "one"))

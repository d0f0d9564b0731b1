"""The file of the report, in a folder that others may write to."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.plugin_utils._report.file import Existing, read


def test_what_a_file_says_and_its_mode_are_read(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert read(page) is None
    page.write_text("a\n")
    page.chmod(0o640)
    assert read(page) == Existing("a\n", 0o640)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_that_is_replaced_meanwhile_is_neither_followed_nor_waited_for(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, secret = tmp_path / "report.html", tmp_path / "secret"
    page.write_text("a")
    secret.write_text("secret")
    found = page.lstat()
    page.unlink()
    if kind == "link":
        page.symlink_to(secret)
    else:
        os.mkfifo(page)
    monkeypatch.setattr(Path, "lstat", lambda path: found)
    if kind == "link":
        with pytest.raises(OSError):
            read(page)
    else:
        assert read(page) == Existing("", found.st_mode & 0o777)

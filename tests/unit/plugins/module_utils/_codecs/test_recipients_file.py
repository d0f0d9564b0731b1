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

"""tar.gz beyond what the fields of gzip and of plain tar can count."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
from datetime import datetime, timezone

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import Member
from ansible_collections.lastgood.database.plugins.module_utils._archives.registry import FORMATS

MIB = 1024**2
TIME = datetime(2026, 2, 28, 12, 0, 2, tzinfo=timezone.utc)


def test_beyond_4_gib_tar_and_gzip_read_what_comes_behind() -> None:
    large = 4097
    with subprocess.Popen(("tar", "-xzOf", "-", "small"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tar:
        assert tar.stdin is not None and tar.stdout is not None
        writer = FORMATS["tar.gz"].writer(tar.stdin)  # type: ignore[arg-type]
        writer.add(Member("large", large * MIB, TIME), (bytes(MIB) for _number in range(large)))
        writer.add(Member("small", 6, TIME), [b"behind"])
        writer.finish()
        tar.stdin.close()
        assert tar.stdout.read() == b"behind"
    assert tar.returncode == 0  # gzip has compared the checksum and the size

"""The file that becomes the archive: what is final is digested, and brought to the disk, while the next is written."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import Chunk
from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreFailed, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES, write_all
from ansible_collections.lastgood.database.plugins.module_utils._lane import Lane, lane

# As much as is worth a flush of its own: of many small files, one each would take longer than all at the end.
_WORTH_A_FLUSH_BYTES = 32 * 1024 * 1024


class FileOutput:
    """A file, written from its beginning by one who marks what is final."""

    def __init__(self, descriptor: int, doing: str, lanes: t.Sequence[Lane[range]], digest: _FileDigest) -> None:
        self._descriptor = descriptor
        self._doing = doing
        self._lanes = lanes
        self._digest = digest
        self._size = 0
        self._handed_over = 0

    def write(self, data: Chunk) -> None:
        with store_errors(self._doing):
            write_all(self._descriptor, data)
        self._size += len(data)

    def write_at(self, offset: int, data: bytes) -> None:
        with store_errors(self._doing):
            os.pwrite(self._descriptor, data, offset)

    def mark_final(self) -> None:
        """Take note that what is written so far stays as it is."""
        if self._size - self._handed_over >= _WORTH_A_FLUSH_BYTES:
            self._hand_over()

    def finish(self) -> str:
        """Wait until all of it is on the disk, and return its digest in hexadecimal."""
        if self._size > self._handed_over:
            self._hand_over()
        for each in self._lanes:
            each.settle()
        return self._digest.hexdigest()

    def _hand_over(self) -> None:
        for each in self._lanes:
            each.give(range(self._handed_over, self._size))
        self._handed_over = self._size


class _FileDigest:
    """The digest of a file, taken from what lies there."""

    def __init__(self, descriptor: int, doing: str) -> None:
        self._descriptor = descriptor
        self._doing = doing
        self._digest = hashlib.sha256()
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._is_stopped = False

    def take(self, offsets: range) -> None:
        position = offsets.start
        while position < offsets.stop and not self._is_stopped:
            with store_errors(self._doing):
                count = os.preadv(self._descriptor, [self._buffer[: offsets.stop - position]], position)
            if not count:
                raise StoreFailed(f"{self._doing}: the file was cut short meanwhile.", "See who else writes it, and run again.")
            self._digest.update(self._buffer[:count])
            position += count

    def stop(self) -> None:
        """Let be what is left to do, which may be much."""
        self._is_stopped = True

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


@contextlib.contextmanager
def file_output(descriptor: int, doing: str) -> t.Iterator[FileOutput]:
    """Write to an empty file that is open. ``doing`` says of an error what it came in."""

    def flush(_offsets: range) -> None:
        with store_errors(doing):
            os.fdatasync(descriptor)

    digest = _FileDigest(descriptor, doing)
    with lane(flush) as flushing, lane(digest.take) as digesting:
        try:
            yield FileOutput(descriptor, doing, (flushing, digesting), digest)
        finally:
            digest.stop()  # or leaving the lane after an error would wait until all that it was given is read

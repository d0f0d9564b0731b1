"""The file that becomes the archive. Its final part is digested and flushed to the disk while the rest is written."""

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

# Flush this much at a time: a flush for each of many small files would take longer than one at the end.
_WORTH_A_FLUSH_BYTES = 32 * 1024 * 1024


class FileOutput:
    """A file that is written from its beginning. The writer marks the part that is final."""

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
        """Record that everything written so far is final."""
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
    """The digest of a file, computed by reading it back."""

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
        """Skip the rest of the file, which may be large."""
        self._is_stopped = True

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


@contextlib.contextmanager
def file_output(descriptor: int, doing: str) -> t.Iterator[FileOutput]:
    """Write to an empty file that is open. ``doing`` names the step in messages of errors."""

    def flush(_offsets: range) -> None:
        with store_errors(doing):
            os.fdatasync(descriptor)

    digest = _FileDigest(descriptor, doing)
    with lane(flush) as flushing, lane(digest.take) as digesting:
        try:
            yield FileOutput(descriptor, doing, (flushing, digesting), digest)
        finally:
            digest.stop()  # after an error, leaving the lane must not wait until the whole file is read

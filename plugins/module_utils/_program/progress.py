"""Shows the program's progress: a bar on a terminal, and lines in a log."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call
from ansible_collections.lastgood.database.plugins.module_utils._progress_line import Reading, line, read

_CELLS = 20
_CLEAR = "\r\x1b[K"


class Bar:
    """Shows the progress in one line of a terminal, and rewrites it for each report."""

    def __init__(self, stream: t.TextIO) -> None:
        self._stream = stream
        self._before: Reading | None = None
        self._shown = False

    def __call__(self, call: Call, report: str) -> None:
        reading = read(report)
        if reading is not None:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"{_CLEAR}{f'{_bar(reading)}{line(call.title, reading, self._before)}'[:width]}")
            self._shown, self._before = True, reading
        elif not report and self._shown:
            self._stream.write(_CLEAR)
            self._shown, self._before = False, None
        self._stream.flush()


class Lines:
    """Writes the progress as a line every ``seconds``; 0 writes none."""

    def __init__(self, stream: t.TextIO, seconds: float, monotonic: t.Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._seconds = seconds
        self._monotonic = monotonic
        self._before: Reading | None = None
        self._next = monotonic() + seconds

    def __call__(self, call: Call, report: str) -> None:
        now = self._monotonic()
        if not report:  # the module ended
            self._before, self._next = None, now + self._seconds
            return
        if not self._seconds or now < self._next:
            return
        reading = read(report)
        if reading is not None:
            self._stream.write(f"{line(call.title or call.module, reading, self._before)}\n")
            self._stream.flush()
            self._before, self._next = reading, now + self._seconds


def _bar(reading: Reading) -> str:
    if not reading.expected_bytes:
        return ""
    done = reading.done_bytes * _CELLS // reading.expected_bytes
    return f"{'█' * done}{'░' * (_CELLS - done)}  "

"""The line that shows the progress of a host's run, such as ``db7  app  34 %  1.2 of 3.5 GiB  210 MiB/s  11 s left``."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import math
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._background import UNDER_WAY
from ansible_collections.lastgood.database.plugins.module_utils._text import one_line

_LONGEST_TITLE = 73  # characters, as a name in the table at the end of a run
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


class Reading(t.NamedTuple):
    """The progress of a run at a time of the host's own clock.

    ``expected_bytes`` is None if it is not known, or if more bytes came than were expected.
    """

    title: str
    seconds: float
    began: float
    done_bytes: int
    expected_bytes: int | None


def read(output: str) -> Reading | None:
    """Parse the report of a live run. Return None if it has nothing to report yet, or if the report is invalid."""
    text = next((line for line in output.splitlines() if line.startswith(UNDER_WAY)), "")
    try:
        report = json.loads(text)["lastgood_under_way"]
        tasks = report["tasks"]
        seconds = float(report["seconds"])
        done = sum(_count(task["done_bytes"]) for task in tasks)
        expected = [task["expected_bytes"] for task in tasks]
        total = None if None in expected else sum(map(_count, expected))
        titles = ", ".join(str(task["title"]) for task in tasks)
        longest = max(float(task["seconds"]) for task in tasks)
        if not math.isfinite(seconds - longest):
            return None
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):  # a hostile host may send anything
        return None
    title = one_line(titles)
    title = title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"
    return Reading(title, seconds, seconds - longest, done, None if total is None or done > total else total)


def _count(value: t.Any) -> int:
    """Return a number of bytes. Raises ValueError if it is negative or too large."""
    count = int(value)
    if not 0 <= count < 2**63:
        raise ValueError(value)
    return count


def line(host: str, reading: Reading, before: Reading | None) -> str:
    """Return the line. The speed counts from the reading ``before``, if that was of the same tasks."""
    done, total = reading.done_bytes, reading.expected_bytes
    since = reading.began, 0
    if before is not None and before.title == reading.title and before.done_bytes <= done:
        since = before.seconds, before.done_bytes
    seconds = reading.seconds - since[0]
    speed = (done - since[1]) / seconds if seconds > 0 else 0.0
    parts = [host, reading.title]
    if total:
        parts.append(f"{done * 100 // total} %")
        parts.append(_share(done, total))
    else:
        parts.append(_size(done))
    if speed >= 1:
        parts.append(f"{_size(speed)}/s")
        if total and done < total:
            parts.append(f"{_span((total - done) / speed)} left")
    return "  ".join(parts)


def _size(size: float) -> str:
    return f"{_number(size, _unit(size))} {_UNITS[_unit(size)]}"


def _share(done: int, total: int) -> str:
    unit = _unit(total)
    return f"{_number(done, unit)} of {_number(total, unit)} {_UNITS[unit]}"


def _unit(size: float) -> int:
    """Return the index of the largest unit that the size has at least one of."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return unit


def _number(size: float, unit: int) -> str:
    number = size / 1024**unit
    return f"{number:.1f}" if unit and number < 100 else f"{number:.0f}"


def _span(seconds: float) -> str:
    """Return a duration in at most two units."""
    whole = int(seconds) + 1
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 100 else f"{hours // 24} days"

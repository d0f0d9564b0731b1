"""Compare the size of a backup with those before it: if it is much smaller, the database may have lost data."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

COMPARED = 7  # backups; after a few runs, most of them have the new size of a database that shrank on purpose


class Shrinkage(t.NamedTuple):
    """The size of a backup, and the median of those before it, in bytes of content."""

    size: int
    usual: int

    @property
    def percent(self) -> int:
        return self.size * 100 // self.usual

    def as_result(self) -> dict[str, int]:
        return {"content_bytes": self.size, "usual_bytes": self.usual, "percent": self.percent}


def shrinkage_of(sizes: t.Sequence[int], least_percent: int) -> Shrinkage | None:
    """Return the shrinkage of the last size if it is below ``least_percent`` of the median before it, else None.

    ``sizes`` are those of good backups, the oldest first.
    """
    if len(sizes) < 2:
        return None
    earlier = sorted(sizes[-COMPARED - 1 : -1])
    usual = earlier[(len(earlier) - 1) // 2]
    return Shrinkage(sizes[-1], usual) if sizes[-1] * 100 < usual * least_percent else None

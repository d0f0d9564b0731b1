"""Which other users can read a file that holds a secret, or decide what a file says that we trust."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import typing as t

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Objection(t.NamedTuple):
    """What is wrong with a file, as the end of a sentence about it, and what to do."""

    problem: str
    next_step: str


def objection_to_secret(path: str, facts: os.stat_result) -> Objection | None:
    """Return why a file holds no secret: every user can read it. None if it may hold one."""
    if facts.st_mode & stat.S_IROTH:
        return Objection("can be read by every user", f"Run: chmod 600 {path}")
    return None


def objection_to_owner(path: str, facts: os.stat_result) -> Objection | None:
    """Return why the owner of a file may not decide what it says. None for root and the user who runs us."""
    if facts.st_uid not in (0, os.geteuid()):
        return Objection(f"belongs to the user with id {facts.st_uid}", f"Run: chown root {path}")
    return None


def objection_to_writers(path: str, facts: os.stat_result) -> Objection | None:
    """Return who else than root and the user who runs us decides what a file says. None if nobody does."""
    if facts.st_mode & _OTHERS_WRITE:
        return Objection(f"has mode {stat.S_IMODE(facts.st_mode):04o}, so that others can change it", f"Run: chmod go-w {path}")
    return objection_to_owner(path, facts)

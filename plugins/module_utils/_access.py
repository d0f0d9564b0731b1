"""Which other users can read a file that holds a secret, or decide what a file says that we trust."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import errno
import os
import stat
import typing as t

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
MOST_LINKS = 40  # as the kernel follows


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


def objection_to_way(path: str) -> Objection | None:
    """Return who else than root and the user who runs us can put another file at an absolute path. None if nobody can.

    Raises OSError. Call this before opening the file. The folders are examined from the root folder on: once one is found safe,
    nobody else can replace what is in it.
    """
    trusted = trusted_users()
    for step, facts in _way_to(path):
        if facts.st_uid not in trusted:
            return Objection(
                f"is reached by {step}, which belongs to the user with id {facts.st_uid}", f"Run: chown -h root {step}"
            )
        if stat.S_ISDIR(facts.st_mode) and others_can_rename_in(facts):
            mode = f"{stat.S_IMODE(facts.st_mode):04o}"
            return Objection(
                f"is below {step}, which has mode {mode}, so that others can put another file in its place",
                f"Run: chmod go-w {step}",
            )
    return None


def trusted_users() -> set[int]:
    """Return the ids of root, of the user who runs us, and of the owner of the root folder, who decides on everything below it.

    In some containers that owner is nobody, by its number.
    """
    return {0, os.geteuid(), os.stat("/").st_uid}


def others_can_rename_in(folder: os.stat_result) -> bool:
    """Return whether users can rename what others have in a folder. In a sticky one, such as /tmp, they can't."""
    return bool(folder.st_mode & _OTHERS_WRITE) and not folder.st_mode & stat.S_ISVTX


def _way_to(path: str) -> t.Iterator[tuple[str, os.stat_result]]:
    """Yield the folders and the links that an absolute path leads through, from the root folder on. Raises OSError."""
    folder, links = "/", 0
    names = collections.deque(filter(None, path.split("/")))
    while names:
        yield folder, os.lstat(folder)
        step = os.path.join(folder, names.popleft())
        facts = os.lstat(step)
        if not stat.S_ISLNK(facts.st_mode):
            folder = step
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        yield step, facts
        target = os.readlink(step)
        names.extendleft(filter(None, reversed(target.split("/"))))
        if target.startswith("/"):
            folder = "/"

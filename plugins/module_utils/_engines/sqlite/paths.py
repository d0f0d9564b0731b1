"""Resolve the path of a database file by descriptors, one name at a time.

A path that root follows may lead through folders of others, who can put a link to somebody else's file in it at any moment.
So each name is opened without following it, and a link is accepted only if it and its folder belong to root or to the owner
of the file at the end, similar to https://www.kernel.org/doc/html/latest/admin-guide/sysctl/fs.html#protected-symlinks.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import contextlib
import errno
import os
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import SourceInvalid

_BY_NAME_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # not for reading: closing it releases no lock of SQLite's
_MOST_LINKS = 40  # as the kernel allows


@dataclass(frozen=True)
class Step:
    """A folder or a file on the path, opened with O_PATH."""

    name: str
    descriptor: int
    facts: os.stat_result


@dataclass(frozen=True)
class Walk:
    """A resolved path: its steps from the root folder on, without links, and the users who can set the links followed."""

    steps: tuple[Step, ...]
    link_setters: frozenset[int]

    @property
    def path(self) -> str:
        return "/" + "/".join(step.name for step in self.steps[1:])

    @property
    def end(self) -> Step:
        return self.steps[-1]

    @property
    def folder(self) -> Step:
        """The folder of the end."""
        return self.steps[-2] if len(self.steps) > 1 else self.end

    def check_links(self, path: str) -> None:
        """Raise SourceInvalid if root followed a link that a user other than the owner of the end can set."""
        strangers = self.link_setters - {0, self.end.facts.st_uid}
        if os.geteuid() == 0 and strangers:
            raise SourceInvalid(
                f"{path} leads to {self.path}, which belongs to the user with id {self.end.facts.st_uid}, through a link that "
                f"the user with id {min(strangers)} can set.",
                "Name the path without links, if that file is the one to use.",
            )


@contextlib.contextmanager
def walking(path: str) -> t.Iterator[Walk]:
    """Follow an absolute path to its end. Raises OSError if it does not exist or may not be entered."""
    names = collections.deque(path.split("/"))
    link_setters: set[int] = set()
    links = 0
    with contextlib.ExitStack() as stack:
        steps = [_step("/", None, stack)]
        while names:
            name = names.popleft()
            if name in ("", "."):
                continue
            if name == "..":
                steps = steps[:-1] or steps
                continue
            step = _step(name, steps[-1].descriptor, stack)
            if not stat.S_ISLNK(step.facts.st_mode):
                steps.append(step)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            link_setters |= {step.facts.st_uid, steps[-1].facts.st_uid}
            target = os.readlink("", dir_fd=step.descriptor)
            steps = steps[:1] if target.startswith("/") else steps
            names.extendleft(reversed(target.split("/")))
        yield Walk(tuple(steps), frozenset(link_setters))


def _step(name: str, folder: int | None, stack: contextlib.ExitStack) -> Step:
    descriptor = os.open(name, _BY_NAME_ONLY, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return Step(name, descriptor, os.fstat(descriptor))

# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""SQLite: a database file is opened as the application opens it, by the file's owner.

SQLite opens, makes and removes journals by name, beside the database, and does what they say: one can name any file on the
host to be removed. So root gets at files as the owner would for as long as SQLite does that, and opens a database of root's own
only where nobody else can put anything in its place or beside it.
https://www.sqlite.org/lockingv3.html#hot_journals, https://www.sqlite.org/tempfiles.html#super_journal_files
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import sqlite3
import stat
import threading
import typing as t
import urllib.parse

from ansible_collections.lastgood.database.plugins.module_utils._errors import DatabaseMissing, NotOwner, SourceInvalid

# What an application brings to SQLite, or another version of it has, and this one does not.
_LACKS = re.compile(
    r"no such (?:collation sequence|function|module)|unknown (?:function|tokenizer)|unsafe use of|unsupported file format"
)
_one_at_a_time = threading.Lock()
# https://github.com/torvalds/linux/blob/master/include/uapi/linux/capability.h
_CAPABILITIES_VERSION_3 = 0x20080522
_DAC_READ_SEARCH = 1 << 2


def look_at_file(path: str) -> os.stat_result:
    """Return what the file system says of a database file. Never opens it: closing it would end SQLite's own locks.

    The path is to lead through no link, which may lead elsewhere a moment later.
    """
    try:
        facts = os.lstat(path)
    except FileNotFoundError as error:
        raise DatabaseMissing(f"There is no file {path}.", "Correct the path; a missing database is never created.") from error
    except OSError as error:
        raise SourceInvalid(f"{path} can't be looked at: {error.strerror}.", "Run as the file's owner (become_user).") from error
    if not stat.S_ISREG(facts.st_mode):
        raise SourceInvalid(f"{path} is not a regular file.", "Name the file of an SQLite database.")
    if os.geteuid() not in (0, facts.st_uid):
        raise NotOwner(
            f"{path} belongs to the user with id {facts.st_uid}, and this is the user with id {os.geteuid()}.",
            "Run as the file's owner or as root (become_user): a stranger who reads a database in WAL mode leaves files "
            "behind that lock the application out.",
        )
    if os.geteuid() == facts.st_uid == 0:
        _check_that_root_s_own(path)
    return facts


def connect(path: str) -> sqlite3.Connection:
    """Connect to a database; to somebody else's as its owner, see ``acting_as``.

    Nothing waits for a lock, and no transaction begins by itself.
    """
    # rw, not ro: as the application itself would, so that what a crash left is recovered, and nothing is left behind.
    uri = f"file:{urllib.parse.quote(os.fsencode(path))}?mode=rw"
    try:
        return sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
    except sqlite3.Error as error:
        raise unopened(path, error) from error


def unopened(path: str, error: sqlite3.Error) -> SourceInvalid:
    """Return the error for a database that SQLite can't open, or whose journals it can't."""
    return SourceInvalid(
        f"{path} can't be opened: {error}.",
        "See that the file's owner may enter its folder, and write to it where the database is in WAL mode.",
    )


def is_lacking(error: sqlite3.Error) -> bool:
    """Whether SQLite could not look at a database for want of something, which says nothing of the database."""
    return _LACKS.search(str(error)) is not None


@contextlib.contextmanager
def acting_as(owner: os.stat_result) -> t.Iterator[None]:
    """Get at files as the owner of one would, with the groups of a login of theirs, if we are root.

    For the calls that need it, no longer, and in this thread alone, but for the groups: others write backups meanwhile. Raises
    NotOwner where we can't. https://man7.org/linux/man-pages/man2/setfsuid.2.html
    """
    if os.geteuid() == owner.st_uid:
        yield
        return
    with _one_at_a_time:
        groups = os.getgroups()
        try:
            # Of the whole process: whoever else is in it is root, and needs no group.
            os.setgroups(_groups_of(owner))
        except PermissionError as error:
            raise _not_owner(owner) from error
        try:
            _set_file_ids(owner.st_uid, owner.st_gid)
            if _file_uid() != owner.st_uid:
                raise _not_owner(owner)
            yield
        finally:
            _set_file_ids(os.geteuid(), os.getegid())
            os.setgroups(groups)


def _set_file_ids(uid: int, gid: int) -> None:
    library = _c_library()
    library.setfsgid(gid)
    library.setfsuid(uid)
    if uid:
        _keep_reading(library)


def _file_uid() -> int:
    return int(_c_library().setfsuid(-1)) & 0xFFFFFFFF  # which is nobody's, and so changes nothing


def _keep_reading(library: t.Any) -> None:
    """Take back, of root's rights, that to go through any folder: a container's data lies where its owner may not look.

    Where that is refused we do without, as the owner would. https://man7.org/linux/man-pages/man2/capset.2.html
    """
    import ctypes

    header, data = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if library.capget(header, data) == 0:
        data[0] |= data[1] & _DAC_READ_SEARCH  # of the permitted, into the effective
        library.capset(header, data)


def _c_library() -> t.Any:
    import ctypes

    return ctypes.CDLL(None)


def _not_owner(owner: os.stat_result) -> NotOwner:
    return NotOwner(
        f"Root may not become the user with id {owner.st_uid} here, whose database it is.", "Run as that user (become_user)."
    )


def _groups_of(owner: os.stat_result) -> list[int]:
    try:
        entry = pwd.getpwuid(owner.st_uid)
    except KeyError:  # a container's user, say
        return [owner.st_gid]
    return os.getgrouplist(entry.pw_name, entry.pw_gid)


def _check_that_root_s_own(path: str) -> None:
    """Raise SourceInvalid where somebody else could put a file in the place of root's, or write a journal of it."""
    for journal in (f"{path}-journal", f"{path}-wal", f"{path}-shm"):
        if os.path.lexists(journal):
            _check(path, journal, os.lstat(journal))
    folder = os.path.dirname(path)
    _check(path, folder, os.lstat(folder))
    while folder != "/":
        folder = os.path.dirname(folder)
        facts = os.lstat(folder)
        if facts.st_uid != 0 or not facts.st_mode & stat.S_ISVTX:  # in a sticky one, others can't rename what is root's
            _check(path, folder, facts)


def _check(path: str, name: str, facts: os.stat_result) -> None:
    by_group = facts.st_mode & stat.S_IWGRP and facts.st_gid != 0
    if facts.st_uid != 0 or by_group or facts.st_mode & stat.S_IWOTH:
        raise SourceInvalid(
            f"{path} is root's, but somebody else may write to {name}, and SQLite, run by root, would do what a journal says.",
            "Give the database to the user whose it is, or take from others the right to write there.",
        )

"""Let root do work with only the rights of a file's owner.

SQLite opens files by name, and somebody else can make a name in their folder lead anywhere: the owner's rights limit that to
files that the owner can open anyway. So the work has the owner's user id, the groups of their login, and no capabilities.
https://man7.org/linux/man-pages/man2/setfsuid.2.html, https://man7.org/linux/man-pages/man7/capabilities.7.html
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import concurrent.futures
import contextlib
import grp
import os
import pwd
import threading
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.paths import walking
from ansible_collections.lastgood.database.plugins.module_utils._errors import NotOwner

# https://github.com/torvalds/linux/blob/master/include/uapi/linux/capability.h
_CAPABILITIES_VERSION_3 = 0x20080522
# https://github.com/torvalds/linux/blob/master/include/uapi/linux/sched.h and mount.h
_NEW_MOUNTS = 0x00020000
_BIND, _PRIVATE_BELOW = 4096, (1 << 18) | 16384
_NOBODY_S_GROUP = 65534
_one_at_a_time = threading.Lock()

Answer = t.TypeVar("Answer")


def as_owner(owner: os.stat_result, folder: str, work: t.Callable[[], Answer]) -> Answer:
    """Do work with the rights of the owner of a file in ``folder``. Raises NotOwner if root may not take them.

    The work runs in its own thread, since these rights belong to a thread; the groups belong to the process, whose other
    threads are root and need none.
    """
    if os.geteuid() == owner.st_uid:
        return work()
    with _one_at_a_time, _groups(owner), concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(_work_as, owner, folder, work).result()


def _work_as(owner: os.stat_result, folder: str, work: t.Callable[[], Answer]) -> Answer:
    with _own_rights():
        _take_ids(owner)
        closed = _first_closed(folder)
        if closed is not None:
            _take_root_s_ids()
            _bring_into_reach(folder, closed)
            _take_ids(owner)
        _drop_capabilities()
        return work()


@contextlib.contextmanager
def _own_rights() -> t.Iterator[None]:
    """Restore this thread's rights at the end.

    The thread may outlive its work by a moment, and setting the groups of the process sets them in every thread: if one may
    not do that, the C library ends the process.
    """
    header, capabilities = _capabilities()
    _c_library().capget(header, capabilities)
    try:
        yield
    finally:
        _take_root_s_ids()
        _c_library().capset(header, capabilities)


@contextlib.contextmanager
def _groups(owner: os.stat_result) -> t.Iterator[None]:
    groups = os.getgroups()
    try:
        os.setgroups(_login_groups(owner))
    except PermissionError as error:
        raise _not_owner(owner) from error
    try:
        yield
    finally:
        os.setgroups(groups)


def _login_groups(owner: os.stat_result) -> list[int]:
    """Return the groups of the owner's login, the primary one first.

    A user unknown to the host, such as a container's, gets the file's group if that is unknown, too: it then protects
    nothing on the host.
    """
    try:
        entry = pwd.getpwuid(owner.st_uid)
    except KeyError:
        return [_NOBODY_S_GROUP if _is_group_here(owner.st_gid) else owner.st_gid]
    others = [gid for gid in os.getgrouplist(entry.pw_name, entry.pw_gid) if gid != entry.pw_gid]
    return [entry.pw_gid, *others]


def _is_group_here(gid: int) -> bool:
    try:
        grp.getgrgid(gid)
    except KeyError:
        return False
    return True


def _take_ids(owner: os.stat_result) -> None:
    library = _c_library()
    library.setfsgid(_login_groups(owner)[0])
    library.setfsuid(owner.st_uid)
    if library.setfsuid(-1) & 0xFFFFFFFF != owner.st_uid:  # -1 is no valid id: this only reads the id
        raise _not_owner(owner)


def _take_root_s_ids() -> None:
    library = _c_library()
    library.setfsuid(os.geteuid())
    library.setfsgid(os.getegid())


def _drop_capabilities() -> None:
    """Clear this thread's effective capabilities. The permitted ones remain, to be restored later."""
    import ctypes

    header, capabilities = _capabilities()
    _c_library().capget(header, capabilities)
    for word in (0, 3):  # each half of 32 has effective, permitted, inheritable
        capabilities[word] = 0
    if _c_library().capset(header, capabilities) != 0:
        raise NotOwner(
            f"Root may not give up its capabilities here: {os.strerror(ctypes.get_errno())}.",
            "Run as the database's owner (become_user).",
        )


def _capabilities() -> tuple[t.Any, t.Any]:
    """Return a header and a buffer for this thread's capabilities. https://man7.org/linux/man-pages/man2/capget.2.html"""
    import ctypes

    return (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION_3, 0), (ctypes.c_uint32 * 6)()


def _first_closed(folder: str) -> str | None:
    """Return the topmost folder above ``folder`` that this thread may not enter; None if it may enter all of them."""
    path = ""
    for name in os.path.dirname(folder).split("/"):
        path = f"{path.rstrip('/')}/{name}"
        try:
            os.stat(f"{path}/.")
        except PermissionError:
            return path
        except OSError:  # opening it reports that
            return None
    return None


def _bring_into_reach(folder: str, closed: str) -> None:
    """Mount the folder at its own path for this thread alone, though the owner may not enter the folders above it.

    Containers have their data in such folders. SQLite needs the true path: the journals of a transaction on
    several files contain it.
    """
    with contextlib.suppress(OSError):  # then SQLite reports that it can't open it
        _call("unshare", _NEW_MOUNTS)
        _call("mount", b"none", b"/", None, _PRIVATE_BELOW, None)
        with walking(folder) as walk:  # again: a file can be bound only in the namespace that it was opened in
            if walk.path != folder:
                return
            _call("mount", b"lastgood", os.fsencode(closed), b"tmpfs", 0, b"mode=0755,size=1m")
            os.makedirs(folder, 0o755)
            _call("mount", os.fsencode(f"/proc/self/fd/{walk.end.descriptor}"), os.fsencode(folder), None, _BIND, None)


def _call(name: str, *arguments: t.Any) -> None:
    import ctypes

    words = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    if getattr(_c_library(), name)(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def _c_library() -> t.Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _not_owner(owner: os.stat_result) -> NotOwner:
    return NotOwner(
        f"Root may not become the user with id {owner.st_uid} here, whose database it is.", "Run as that user (become_user)."
    )

"""Give a restored file the owner, group, mode, access control list and extended attributes of the old one.

The group bits of a file with an access control list hold the list's mask, not the group's rights: without the list they
would give the group the rights of everybody who is named in it. https://man7.org/linux/man-pages/man5/acl.5.html
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import struct

from ansible_collections.lastgood.database.plugins.module_utils._errors import NotOwner, store_errors

_PERMISSIONS = 0o777
_GROUP_BITS = 0o070
_ACL = "system.posix_acl_access"
# Signatures of the old content, and capabilities of a program.
_OF_THE_CONTENT = ("security.ima", "security.evm", "security.capability")
_UNSUPPORTED = (errno.ENODATA, errno.EOPNOTSUPP)
# https://github.com/torvalds/linux/blob/master/include/uapi/linux/posix_acl_xattr.h
_ACL_HEADER, _ACL_ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_ACL_GROUP, _ACL_MASK = 0x04, 0x10


def check_group(path: str, facts: os.stat_result, folder: os.stat_result) -> None:
    """Raise NotOwner if a new file in the folder can't get the group of the old one."""
    inherits = folder.st_mode & 0o2000 and folder.st_gid == facts.st_gid
    if os.geteuid() != 0 and not inherits and facts.st_gid not in {os.getegid(), *os.getgroups()}:
        raise _not_in_group(path, facts)


def copy_attributes(path: str, old: int, new: int) -> list[str]:
    """Copy the attributes of ``old``, an O_PATH descriptor, to ``new``. Return a warning for each that can't be copied."""
    facts = os.fstat(old)
    with store_errors(f"Giving the restored {path} the attributes of the old file"):
        _give_owner(path, facts, new)
        attributes, unread = _read(f"/proc/self/fd/{old}")
        with contextlib.suppress(OSError):  # a new file may have the folder's default list
            os.removexattr(new, _ACL)
        os.fchmod(new, _mode_without_acl(facts.st_mode & _PERMISSIONS, attributes.get(_ACL)))
    lost = unread + [name for name, value in attributes.items() if not _set(new, name, value)]
    return [f"The restored {path} lacks the attribute {name} of the old file: {_why(name)}." for name in sorted(lost)]


def _give_owner(path: str, facts: os.stat_result, new: int) -> None:
    try:
        os.fchown(new, facts.st_uid, facts.st_gid)
    except PermissionError as error:
        raise _not_in_group(path, facts) from error


def _not_in_group(path: str, facts: os.stat_result) -> NotOwner:
    return NotOwner(
        f"{path} belongs to the group with id {facts.st_gid}, which the user with id {os.geteuid()} is not in, so that a "
        "restored file can't be given to it.",
        "Run as root (become_user), or make the user a member of the group; the database is as it was.",
    )


def _read(path: str) -> tuple[dict[str, bytes], list[str]]:
    """Return the extended attributes of a file, and the names of those that can't be read."""
    try:
        names = os.listxattr(path)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return {}, []
    values, unread = {}, []
    for name in names:
        try:
            values[name] = os.getxattr(path, name)
        except OSError:
            unread.append(name)
    return values, unread


def _mode_without_acl(mode: int, acl: bytes | None) -> int:
    """Return the mode with the group's own rights as its group bits."""
    if acl is None:
        return mode
    entries = {tag: rights for tag, rights, _id in _ACL_ENTRY.iter_unpack(acl[_ACL_HEADER.size :])}
    group: int = entries.get(_ACL_GROUP, 0) & entries.get(_ACL_MASK, 0o7)
    return mode & ~_GROUP_BITS | group << 3


def _set(new: int, name: str, value: bytes) -> bool:
    if name in _OF_THE_CONTENT:
        return False
    try:
        os.setxattr(new, name, value)
    except OSError:
        return _has(new, name, value)  # a security policy may have set the right label itself
    return True


def _has(new: int, name: str, value: bytes) -> bool:
    try:
        return os.getxattr(new, name) == value
    except OSError:
        return False


def _why(name: str) -> str:
    return "it is of the old content" if name in _OF_THE_CONTENT else "it may not be read or set here"

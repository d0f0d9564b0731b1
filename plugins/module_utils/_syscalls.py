"""Forbid a thread, and all programs that it starts, the system calls that no namespace restricts.

Keys      a session has one keyring in all namespaces, which may hold Kerberos tickets and keys of encrypted file systems
Sockets   vsock leads from a virtual machine to its host, whatever the network namespace; other families are unknown
io_uring  makes sockets too, which this filter does not see

https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import Inconclusive

# https://github.com/torvalds/linux/blob/master/include/uapi/linux/prctl.h, seccomp.h and bpf_common.h
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16

_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16)  # 16 is netlink; network namespaces separate these
_IO_URING_SETUP = 425
_OTHER_CALLS_SINCE = 0x40000000  # the same calls of the x32 ABI


@dataclass(frozen=True)
class _Machine:
    """The numbers for a kind of processor: its own, that of socket, and those of the forbidden calls."""

    architecture: int
    socket: int
    forbidden: tuple[int, ...]


# https://github.com/torvalds/linux/blob/master/include/uapi/linux/audit.h, and the tables of system calls.
# Two of them have socketcall, 102, too. It is forbidden, since a filter can't see which family it asks for.
_MACHINES = {
    "x86_64": _Machine(0xC000003E, 41, (248, 249, 250)),
    "aarch64": _Machine(0xC00000B7, 198, (217, 218, 219)),
    "riscv64": _Machine(0xC00000F3, 198, (217, 218, 219)),
    "ppc64le": _Machine(0xC0000015, 326, (269, 270, 271, 102)),
    "s390x": _Machine(0x80000016, 359, (278, 279, 280, 102)),
}


def forbid_calls() -> None:
    """Install the filter, for ever, for this thread and what it starts. Raises Inconclusive if that fails."""
    import ctypes

    machine = _MACHINES.get(os.uname().machine)
    if machine is None:
        raise _refused(f"the calls of a {os.uname().machine} are not known")
    program = _program(machine)
    code = ctypes.create_string_buffer(b"".join(program))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    library = ctypes.CDLL(None, use_errno=True)
    nothing = ctypes.c_ulong(0)
    for call in (
        (_NO_NEW_PRIVS, ctypes.c_ulong(1), nothing, nothing, nothing),  # others than root need it
        (_SECCOMP, ctypes.c_ulong(_FILTER), described, nothing, nothing),
    ):
        if library.prctl(*call) != 0:
            raise _refused(os.strerror(ctypes.get_errno()))


def _program(machine: _Machine) -> list[bytes]:
    """Return the filter's instructions. Calls of another architecture fail with ENOSYS."""
    low_word = _FIRST_ARGUMENT_AT + (4 if sys.byteorder == "big" else 0)
    missing, no_family = _ERROR | errno.ENOSYS, _ERROR | errno.EAFNOSUPPORT
    return [
        _step(_LOAD, _ARCHITECTURE_AT),
        *_unless(_EQUAL, machine.architecture, missing),
        _step(_LOAD, _NUMBER_AT),
        *_if(_AT_LEAST, _OTHER_CALLS_SINCE, missing),
        *(step for number in (*machine.forbidden, _IO_URING_SETUP) for step in _if(_EQUAL, number, missing)),
        *_unless(_EQUAL, machine.socket, _ALLOW),
        _step(_LOAD, low_word),
        *(step for family in _FAMILIES for step in _if(_EQUAL, family, _ALLOW)),
        _step(_RETURN, no_family),
    ]


def _if(comparison: int, value: int, answer: int) -> t.Iterator[bytes]:
    yield _step(comparison, value, jump_if_not=1)
    yield _step(_RETURN, answer)


def _unless(comparison: int, value: int, answer: int) -> t.Iterator[bytes]:
    yield _step(comparison, value, jump_if=1)
    yield _step(_RETURN, answer)


def _step(code: int, value: int, jump_if: int = 0, jump_if_not: int = 0) -> bytes:
    return struct.pack("@HBBI", code, jump_if, jump_if_not, value)


def _refused(reason: str) -> Inconclusive:
    return Inconclusive(
        f"A backup's code is run in a sandbox only, and this host has no filter of system calls (seccomp) for it: {reason}.",
        "Run the drill on another host, or name a server for drills in the options of the login.",
    )

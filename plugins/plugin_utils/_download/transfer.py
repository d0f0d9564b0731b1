"""Transfers a host's file to the controller, over any connection, with little memory on either end.

If the user that the connection logs in as may read the file, the connection fetches it whole. Otherwise the user that the task
becomes copies it piece by piece, each at most ``PIECE_BYTES`` long, to a file that the login user owns, and the connection
fetches that. Ansible's own fetch would send all of it as one base64 text, and hold that in memory on both ends.

The file for pieces has a random name in a folder that others can't list, and only the login user can read it. Others can write to
it, because the user that the task becomes must. Anybody who guessed its name could only make a download fail: the digest of the
whole is compared.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import secrets
import shlex
import shutil
import tempfile
import typing as t

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ConnectionFailed,
    ConnectionLost,
    NoSpace,
    StoreFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES

PIECE_BYTES = 64 * 1024 * 1024
SLACK_BYTES = 64 * 1024 * 1024  # for what a connection writes beside the file, such as a list of host keys

# Connections that write directly to the given file. Others, such as docker's, first write another file beside it.
_WRITE_IN_PLACE = ("local", "paramiko", "ssh")
_BLOCK_BYTES = 1024 * 1024  # of dd; pieces begin at a multiple of it
_MAY_READ = "[ -f {path} ] && [ ! -L {path} ] && [ -r {path} ]"
# Also removes the pieces of killed runs, to which nobody has written for a day.
_MAKE_PLACE = (
    "umask 077; "
    "find /var/tmp -maxdepth 1 -name '.lastgood-download-*' -user \"$(id -u)\" -mtime +0 -exec rm -rf {{}} + 2>/dev/null; "
    "mkdir {folder} && : > {piece} && chmod 0622 {piece} && chmod 0711 {folder}"
)
_COPY_PIECE = "LC_ALL=C dd if={path} of={piece} bs={block} skip={skip} count={count} 2>&1"
_REMOVE_PLACE = "rm -rf {folder}"
_NO_ROOM = ("No space left on device", "Disk quota exceeded")

Execute = t.Callable[..., t.Mapping[str, t.Any]]  # an action's _low_level_execute_command


class Transfer:
    """Transfers over a connection."""

    def __init__(self, connection: t.Any, execute: Execute) -> None:
        self._connection = connection
        self._execute = execute
        self._cleanup = contextlib.ExitStack()
        self._place: tuple[str, str] | None = None

    def __enter__(self) -> Transfer:
        self._cleanup.enter_context(_uncompressed(self._connection))
        return self

    def __exit__(self, *_error: object) -> None:
        self._cleanup.close()

    def fetch(self, source: str, destination: str, size: int) -> bool:
        """Let the connection fetch a whole file of a size, if the user who logs in may read it. Return whether it did."""
        if self._connection.transport not in _WRITE_IN_PLACE:
            return False
        if self._run(_MAY_READ, as_login_user=True, path=source)["rc"] != 0:
            return False
        with _streaming(self._connection) as streams:
            if not streams:
                return False
            try:
                with _connection_errors(), _at_most(size):
                    self._connection.fetch_file(source, destination)
            except StoreFailed:
                return False  # the host may have no SFTP, or this disk be full: reading in pieces will show it
        return True

    def chunks(self, source: str, size: int, offset: int) -> t.Generator[memoryview, None, None]:
        """Read a file from ``offset`` to its end or ``size``, piece by piece."""
        if offset >= size:
            return
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with tempfile.TemporaryDirectory(dir=constants.DEFAULT_LOCAL_TMP) as folder:  # type: ignore[attr-defined]
            here = os.path.join(folder, "piece")
            while offset < size:
                skipped = offset % _BLOCK_BYTES
                expected = min(PIECE_BYTES, size - offset + skipped)
                self._fetch_piece(source, offset - skipped, expected, here)
                with store_errors(f"Reading {here}"), open(here, "rb", buffering=0) as piece:
                    piece.seek(skipped)
                    while count := piece.readinto(buffer):
                        offset += count
                        yield buffer[:count]
                    if piece.tell() < expected:
                        return  # the file became shorter

    def _fetch_piece(self, source: str, offset: int, count: int, here: str) -> None:
        _folder, piece = self._place = self._place or self._make_place()
        blocks = -(-count // _BLOCK_BYTES)
        copied = self._run(_COPY_PIECE, path=source, piece=piece, block=_BLOCK_BYTES, skip=offset // _BLOCK_BYTES, count=blocks)
        if copied["rc"] != 0:
            words = copied["stdout"].strip() or copied.get("stderr", "").strip()
            if any(no_room in words for no_room in _NO_ROOM):
                raise NoSpace(
                    f"The host has no room for a piece of {source} in /var/tmp: {words}", "Make room there, and run again."
                )
            raise StoreFailed(f"Reading {source} on the host: {words}", "See who may read it (become_user), and the host's disk.")
        if shutil.disk_usage(os.path.dirname(here)).free < count:
            raise NoSpace(f"{os.path.dirname(here)} has no room for a piece.", "Make room there, and run again.")
        with _connection_errors(), _at_most(count):
            self._connection.fetch_file(piece, here)

    def _make_place(self) -> tuple[str, str]:
        folder = f"/var/tmp/.lastgood-download-{secrets.token_hex(8)}"
        piece = f"{folder}/{secrets.token_hex(16)}"
        self._cleanup.callback(self._remove_place, folder)
        made = self._run(_MAKE_PLACE, as_login_user=True, folder=folder, piece=piece)
        if made["rc"] != 0:
            words = made.get("stderr", "").strip() or made["stdout"].strip()
            raise StoreFailed(f"Making {folder} on the host: {words}", "See the host's disk, and who may write to /var/tmp.")
        return folder, piece

    def _remove_place(self, folder: str) -> None:
        with contextlib.suppress(AnsibleError, ConnectionFailed):
            self._run(_REMOVE_PLACE, as_login_user=True, folder=folder)

    def _run(self, command: str, *, as_login_user: bool = False, **values: t.Any) -> t.Mapping[str, t.Any]:
        filled = command.format(**{name: shlex.quote(str(value)) for name, value in values.items()})
        with _connection_errors():
            return self._execute(filled, sudoable=not as_login_user)


@contextlib.contextmanager
def _connection_errors() -> t.Iterator[None]:
    try:
        yield
    except AnsibleConnectionFailure as error:
        raise ConnectionLost(
            f"The connection to the host broke: {error.message}", "Run again: what was begun goes on."
        ) from error
    except (AnsibleError, OSError) as error:
        raise StoreFailed(f"The connection could not fetch a file: {error}", "See the host's log, and run again.") from error


@contextlib.contextmanager
def _at_most(size: int) -> t.Iterator[None]:
    """Let no file become much larger than ``size``, by this process (a fork for the task) or its programs."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limits = [limit for limit in (size + SLACK_BYTES, before, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


@contextlib.contextmanager
def _streaming(connection: t.Any) -> t.Iterator[bool]:
    """Restrict OpenSSH to SFTP, and yield whether that is possible: another of Ansible's methods holds a whole file in memory."""
    if connection.transport != "ssh":
        yield True
        return
    method = connection.get_option("ssh_transfer_method")
    if method not in (None, "smart", "sftp", "scp"):
        yield False
        return
    with _options(connection, {"ssh_transfer_method": "sftp" if method in (None, "smart") else method}):
        yield True


@contextlib.contextmanager
def _uncompressed(connection: t.Any) -> t.Iterator[None]:
    """Remove -C from OpenSSH's arguments: payloads are compressed, and compressing them again makes a transfer much slower.

    A shared connection retains its compression, so these transfers share another one.
    """
    arguments = shlex.split(connection.get_option("ssh_args") or "") if connection.transport == "ssh" else []
    if "-C" not in arguments:
        yield
        return
    changed = {"ssh_args": shlex.join(argument for argument in arguments if argument != "-C")}
    if not any("controlpath" in argument.lower() for argument in arguments):
        whose = [str(connection.get_option(name)) for name in ("host", "port", "remote_user")]
        name = hashlib.sha256("\n".join([*whose, "uncompressed"]).encode()).hexdigest()[:10]
        changed["control_path"] = f"%(directory)s/{name}"
    with _options(connection, changed):
        yield


@contextlib.contextmanager
def _options(connection: t.Any, changed: t.Mapping[str, t.Any]) -> t.Iterator[None]:
    before = {name: connection.get_option(name) for name in changed}
    for name, value in changed.items():
        connection.set_option(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            connection.set_option(name, value)

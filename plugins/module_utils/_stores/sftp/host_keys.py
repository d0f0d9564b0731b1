"""The known host keys, as OpenSSH has them in its known_hosts files."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    HostKeyChanged,
    HostKeyRevoked,
    HostKeyUnknown,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import write_all

SYSTEM_FILE = "/etc/ssh/ssh_known_hosts"
USER_FILE = "~/.ssh/known_hosts"


class HostKey(t.NamedTuple):
    """A public key: its type (``ssh-ed25519``) and its bytes."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"SHA256:{digest}"

    @property
    def line(self) -> str:
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True)
class KnownHosts:
    """A host's entries in the files: its keys, revoked keys, and whether they name a certificate authority (not supported)."""

    keys: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...]
    by_authority: bool

    def check(self, name: str, key: HostKey) -> None:
        """Raise an error unless the key is known."""
        if key in self.revoked:
            raise HostKeyRevoked(f"The host key of {name}, {describe(key)}, was revoked.", "Ask who keeps the server.")
        if key in self.keys:
            return
        if self.keys:
            known = " or ".join(describe(one) for one in self.keys)
            raise HostKeyChanged(
                f"The host key of {name} is {describe(key)}, and known is {known}.",
                "Somebody may be listening in. When the server was set up anew, replace its line in known_hosts.",
                offered=key.fingerprint,
                known=[one.fingerprint for one in self.keys],
            )
        authority = " An authority is named for it, but certificates of hosts are not supported." if self.by_authority else ""
        raise HostKeyUnknown(
            f"The host key of {name} is {describe(key)}, and it is not known.{authority}",
            f"Compare it with the server's own, then put this line into known_hosts: {name} {key.line}",
            offered=key.fingerprint,
        )


def describe(key: HostKey) -> str:
    return f"{key.kind} {key.fingerprint}"


def host_name(host: str, port: int) -> str:
    """Return the name of a host in known_hosts."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def read_known_hosts(files: t.Iterable[str], name: str) -> KnownHosts:
    """Return the entries for a host in the files. Skips files that do not exist."""
    keys: list[HostKey] = []
    revoked: list[HostKey] = []
    by_authority = False
    for line in (line for file in files for line in _lines(file)):
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#") or not _matches(fields[0], name):
            continue
        if marker == "@cert-authority":
            by_authority = True
        elif (key := _key(fields[1], fields[2])) is not None and marker in ("", "@revoked"):
            (revoked if marker else keys).append(key)
    return KnownHosts(tuple(dict.fromkeys(keys)), tuple(revoked), by_authority)


def is_fingerprint(pinned: str) -> bool:
    return pinned.strip().startswith("SHA256:")


def check_pinned(pinned: str, name: str, key: HostKey) -> None:
    """Raise HostKeyChanged unless the key is the pinned one, given as ``type base64`` or as ``SHA256:...``."""
    known = pinned.strip()
    if not is_fingerprint(known):
        found = _key(*known.split()[:2]) if len(known.split()) >= 2 else None
        if found is None:
            raise ArgumentInvalid("host_key is no public key.", "Give it as `ssh-ed25519 AAAA...`, or as SHA256:...")
        known = found.fingerprint
    if known.rstrip("=") != key.fingerprint:
        raise HostKeyChanged(
            f"The host key of {name} is {describe(key)}, and pinned is {known}.",
            "Somebody may be listening in. When the server was set up anew, correct host_key.",
            offered=key.fingerprint,
            known=[known],
        )


def remember(file: str, name: str, key: HostKey) -> None:
    """Add a key to a known_hosts file. A new file is accessible only to its owner."""
    path = os.path.expanduser(file)
    if not os.path.isabs(path):  # it would depend on the working directory
        raise ArgumentInvalid(
            f"The host key of {name} can't be recorded in {file}: the user has no home, and the path is not absolute.",
            "Give an absolute path in known_hosts_file, or pin the key with host_key.",
        )
    with store_errors(f"Writing {path}"):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            gap = "\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else ""
            write_all(descriptor, f"{gap}{name} {key.line}\n".encode())
        finally:
            os.close(descriptor)


def _lines(file: str) -> t.Iterator[str]:
    path = os.path.expanduser(file)
    if not os.path.isabs(path):
        return  # a user without a home has no such file
    with store_errors(f"Reading {path}"):
        try:
            with open(path, encoding="utf-8", errors="replace") as lines:
                yield from lines
        except FileNotFoundError:
            return


def _key(kind: str, text: str) -> HostKey | None:
    try:
        return HostKey(kind, base64.b64decode(text, validate=True))
    except binascii.Error:
        return None


def _matches(patterns: str, name: str) -> bool:
    """Return whether a line is for the host: a pattern matches, and no negated one does."""
    if patterns.startswith("|"):
        return _is_hash_of(patterns, name)
    found = False
    for pattern in patterns.lower().split(","):
        if fnmatch.fnmatchcase(name, _without_classes(pattern.removeprefix("!"))):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _without_classes(pattern: str) -> str:
    """Return the pattern with its brackets escaped: OpenSSH's patterns have only ``*`` and ``?``."""
    return re.sub(r"\[", "[[]", pattern)


def _is_hash_of(text: str, name: str) -> bool:
    try:
        _empty, version, salt, digest = text.split("|")
        expected = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
        return version == "1" and hmac.compare_digest(expected, base64.b64decode(digest))
    except (ValueError, binascii.Error):
        return False

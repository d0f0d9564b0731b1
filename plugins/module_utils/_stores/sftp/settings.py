"""The address of an SFTP server, how to verify it, and the login."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

AuthMethod = t.Literal["auto", "password", "ssh_key"]
HostKeyPolicy = t.Literal["strict", "accept_new", "pinned", "off"]


@dataclass(frozen=True)
class SftpSettings:
    """The options of a server. ``timeout`` is in seconds, for each step to a session and for each wait in it."""

    host: str
    user: str
    remote_directory: str
    port: int = 22
    auth_method: AuthMethod = "auto"
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    private_key_file: str | None = None
    key_passphrase: str | None = field(default=None, repr=False)
    create_directory: bool = False
    host_key_policy: HostKeyPolicy = "strict"
    host_key: str | None = None
    known_hosts_file: str | None = None
    timeout: float = 30.0
    remembers: bool = True  # whether accept_new may write to the file

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"

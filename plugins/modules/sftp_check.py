#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sftp_check
short_description: Check whether backups can be sent to an SFTP server, and report why not
version_added: 0.1.0
description:
  - Performs each step of an upload, and reports how long it took. If a step fails, reports which one and why.
  - At the end it writes, reads back, renames and removes a small file, and another one that stands for a manifest. It sends the
    same requests as M(lastgood.database.backup_upload) and M(lastgood.database.backup_prune), and leaves no file behind. If the
    account may not delete files, the module warns and writes no file.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._sftp
attributes:
  check_mode:
    support: full
    details:
      - Check mode writes nothing, so it does not report whether the directory is writable.
  diff_mode:
    support: N/A
    details:
      - Nothing is changed except as O(create_directory) and O(host_key_policy=accept_new) request.
  idempotent:
    support: full
options:
  sftp:
    description:
      - The server in one dict instead of the options O(host) to O(create_directory), such as a variable that tasks share.
        Excludes these single options.
  host:
    description: Name or address of the server. Required without O(sftp).
    type: str
  port:
    description: Port of the server.
    type: int
    default: 22
  user:
    description: Name of the account on the server. Required without O(sftp).
    type: str
  auth_method:
    description:
      - How to log in. V(auto) tries the key and then the password, if they are set and the server offers the method.
      - Without a key and a password, it tries the keys of the user's agent and of C(~/.ssh), and skips those that can't be
        used.
    type: str
    choices: [auto, password, ssh_key]
    default: auto
  password:
    description: Password of the account, also for servers that ask for it by keyboard-interactive.
    type: str
  private_key:
    description: The private key as text, an ed25519, ECDSA or RSA key in OpenSSH's format or as PEM.
    type: str
  private_key_file:
    description: File on the host with the private key. Ignored if O(private_key) is set.
    type: path
  key_passphrase:
    description: Passphrase of the private key.
    type: str
  remote_directory:
    description:
      - Directory on the server. A relative path starts from the directory after the login, as does V(~).
      - Required without O(sftp).
    type: str
  host_key_policy:
    description:
      - How to verify the server's host key. A key other than the known one is always refused, except with V(off).
      - V(strict) accepts only a key that is in O(known_hosts_file).
      - V(accept_new) accepts the key of an unknown server, and adds it to the file, except in check mode.
      - V(pinned) compares with O(host_key) only, and reads no file.
      - V(off) accepts any key, and warns. An attacker in between can then read and change what is sent.
    type: str
    choices: [strict, accept_new, pinned, "off"]
    default: strict
  host_key:
    description: The server's public key for V(pinned), as V(ssh-ed25519 AAAA...) or as V(SHA256:...).
    type: str
  known_hosts_file:
    description:
      - File with the known host keys, in the format of OpenSSH.
      - By default C(~/.ssh/known_hosts) of the user that runs the module, and C(/etc/ssh/ssh_known_hosts).
    type: path
  timeout:
    description:
      - Time limit for each of these steps, whatever the server sends meanwhile - the connection, the login, the opening of a
        session, and each answer in it. The waits for several answers are added up, and each answer restores a quarter of the
        limit.
    type: str
    default: 30s
  create_directory:
    description: Whether to create the directory, with mode V(0700), and its parents, if they do not exist.
    type: bool
    default: false
  write_probe:
    description: Whether to write a small file, read it back, rename it and remove it.
    type: bool
    default: true
seealso:
  - module: lastgood.database.backup_facts
"""

EXAMPLES = r"""
---
- name: Check whether backups can be sent
  lastgood.database.sftp_check:
    host: backup.example.org
    user: db7
    private_key_file: /etc/lastgood/id_ed25519
    host_key_policy: pinned
    host_key: SHA256:jRBiRvsZ8a1QyCXRk9PNhrRUMY7DRlMnBgpbGxWmeIE
    remote_directory: backups/db7
"""

RETURN = r"""
steps:
  description: The steps that were performed, in order. If one failed, it is the last one.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description:
        - V(resolve), V(connect), V(host_key), V(authenticate), V(open_sftp), V(directory), V(write), V(read_back), V(rename) or
          V(remove).
      type: str
      sample: connect
    ok:
      description: Whether the step succeeded.
      type: bool
    milliseconds:
      description: How long it took.
      type: float
      sample: 12.5
server_version:
  description: The server's own identification. Null if the connection failed before that.
  returned: always
  type: str
  sample: SSH-2.0-OpenSSH_9.2
host_key:
  description: The server's public key, for O(host_key) or a line of known_hosts, after it was verified. Null if it was not
    verified.
  returned: always
  type: str
free_bytes:
  description: Free space for the account, in bytes. Null if the server does not report it.
  returned: always
  type: int
writable:
  description: Whether a file could be written. Null if that was not tried.
  returned: always
  type: bool
failed_step:
  description: The step that failed.
  returned: failure
  type: str
  sample: authenticate
error:
  description: What went wrong, for programs. Besides the code it has details of the problem, such as the login methods that the
    server offers.
  returned: failure
  type: dict
  contains:
    code:
      description:
        - A name for what went wrong that stays the same, such as V(host_not_found), V(connection_refused),
          V(connection_timeout), V(no_ssh_banner), V(host_key_unknown), V(host_key_changed), V(authentication_failed),
          V(key_unreadable), V(wrong_passphrase), V(sftp_unavailable), V(directory_missing), V(not_a_directory),
          V(directory_not_writable), V(no_space) or V(read_back_differs).
      type: str
"""

import contextlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import run_operation
from ansible_collections.lastgood.database.plugins.module_utils._arguments.store_sftp import (
    SERVER_OR_SFTP_SPEC,
    server_or_sftp_store,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._operations.probe import ProbeRequest, probe
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[ProbeRequest]:
    """Yield the request that the module's options make."""
    server = server_or_sftp_store(params, check_mode=context.check_mode, runner=context.runner)
    with contextlib.closing(server) as store:
        yield ProbeRequest(store, params["write_probe"])


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **SERVER_OR_SFTP_SPEC,
            "write_probe": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    run_operation(module, request_from, probe)


if __name__ == "__main__":
    main()

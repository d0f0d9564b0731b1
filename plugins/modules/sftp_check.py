#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sftp_check
short_description: Tell whether backups can be sent to an SFTP server, and why not
version_added: 0.1.0
description:
  - Goes the whole way that a backup goes, step by step, and says how long each step took. Where one fails, it says which one it
    is and why.
  - In the end a small file is written, read back and removed. Nothing is left behind.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._sftp.options
attributes:
  check_mode:
    support: full
    details:
      - Nothing is written in check mode, so that it does not tell whether the directory can be written to.
  diff_mode:
    support: N/A
    details:
      - Nothing is changed but what O(create_directory) and O(host_key_policy=accept_new) ask for.
  idempotent:
    support: full
options:
  write_probe:
    description: Whether to write a small file, read it back and remove it.
    type: bool
    default: true
seealso:
  - module: lastgood.database.backup_facts
"""

EXAMPLES = r"""
---
- name: See whether backups can be sent
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
  description: The steps that were taken, in their order. The last one is the one that failed, where one did.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description:
        - V(resolve), V(connect), V(host_key), V(authenticate), V(open_sftp), V(directory), V(write), V(read_back) or V(remove).
      type: str
      sample: connect
    ok:
      description: Whether it went well.
      type: bool
    milliseconds:
      description: How long it took.
      type: float
      sample: 12.5
server_version:
  description: What the server calls itself. Null where it did not come to that.
  returned: always
  type: str
  sample: SSH-2.0-OpenSSH_9.2
host_key:
  description: The server's public key, for O(host_key) or a line of known_hosts, after it was compared. Null where there is none.
  returned: always
  type: str
free_bytes:
  description: How much room there is for the account. Null where the server does not tell.
  returned: always
  type: int
writable:
  description: Whether a file could be written. Null where that was not tried.
  returned: always
  type: bool
failed_step:
  description: The step that failed.
  returned: failure
  type: str
  sample: authenticate
error:
  description: What went wrong, for programs. Beside the code it has what the problem calls for, such as the methods by which the
    server lets one log in.
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

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleResult, run_module
from ansible_collections.lastgood.database.plugins.module_utils._arguments import SFTP_SPEC, Params, sftp_from
from ansible_collections.lastgood.database.plugins.module_utils._operations.probe import probe
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp import SftpStore


def check(params: Params, check_mode: bool) -> ModuleResult:
    """Go the way that the module's options describe."""
    store = SftpStore(sftp_from(params, check_mode=check_mode))
    try:
        report = probe(
            store,
            create_directory=params["create_directory"],
            write_probe=params["write_probe"],
            check_mode=check_mode,
        )
    finally:
        store.close()
    return ModuleResult(report.as_result(), warnings=store.warnings, failure=report.failure)


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **SFTP_SPEC,
            "write_probe": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda runner: check(module.params, module.check_mode))


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_upload
short_description: Send good backups to an SFTP server, and see that they arrive
version_added: 0.1.0
description:
  - Sends the good backups of a directory that an SFTP server does not have yet, each with its manifest.
  - A backup gets its name on the server only when all of it is there. An upload that is cut off leaves a partial, and the next
    run goes on from there, after it has compared what lies there.
  - What has the same name and the same digest on the server is not sent again. A backup of the same name with another content
    is never replaced, unless it fails its own manifest, by its size or by a failed verdict of the level V(checksum) that is
    recorded there; the copy is not read for that.
  - When one backup can't be sent, the others are sent all the same. The task then fails. The local backups are not touched.
  - A copy there that fails its own manifest is replaced, and what an earlier run had begun to send is deleted when it is of no
    use. No other file is ever deleted on the server, see M(lastgood.database.backup_prune) for that.
  - What was deleted on the server, by O(retention) or by other means, is not sent again.
  - O(newest) counts good backups. RV(not_sent) lists a newer one that is not good.
  - A backup or a database that is named and is not there is an error, and so is a O(directory) that does not exist. In check mode
    both are passed over, since the task before may have been to make them.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup
  - lastgood.database._retention
  - lastgood.database._selection
  - lastgood.database._sftp
attributes:
  check_mode:
    support: full
    details:
      - The server is asked what it has in check mode as well. Nothing is written, neither there nor to the file of known hosts.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  directory:
    description:
      - Directory of the backups, as an absolute path.
      - A symbolic link is refused. Name the directory that it leads to.
    type: path
    required: true
  sftp:
    description: The directory on an SFTP server to send to, and how the host gets there.
  verify:
    description:
      - How to see that a backup arrived before it gets its name.
      - V(size) compares the size. V(sha256) reads all of it back, which takes as long as sending it.
    type: str
    choices: [size, sha256]
    default: size
  connections:
    description: Over how many connections to send several backups at a time.
    type: int
    default: 2
  bandwidth_limit:
    description:
      - How much to send in a second at most, over all connections, such as V(10M) for 10 MiB. Left out, there is no limit.
    type: str
  retention:
    description:
      - The rules by which M(lastgood.database.backup_prune) deletes backups on the server. What they would delete there is not
        sent, see RV(not_sent).
      - Left out, a backup that is older than the newest good one of its group on the server, and that the server does not have,
        counts as deleted there by other means and is not sent. One that an earlier run had begun to send is.
      - A backup in O(names) is sent in any case.
seealso:
  - module: lastgood.database.sftp_check
  - module: lastgood.database.backup_prune
"""

EXAMPLES = r"""
---
- name: Send all good backups that the server does not have
  lastgood.database.backup_upload:
    directory: /var/lib/postgresql/backups
    sftp:
      host: backup.example.org
      user: db7
      private_key_file: /var/lib/postgresql/.ssh/id_ed25519
      remote_directory: backups/db7

- name: Send the newest one of each database, slowly, and read it back
  lastgood.database.backup_upload:
    directory: /var/lib/postgresql/backups
    newest: 1
    sftp:
      host: backup.example.org
      user: db7
      private_key_file: /var/lib/postgresql/.ssh/id_ed25519
      remote_directory: backups/db7
    verify: sha256
    bandwidth_limit: 10M
"""

RETURN = r"""
uploaded:
  description: File names of the backups that were sent, in check mode those that would be.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
  sample: [backup_app_2026-01-31_01-00-00.dump.gz]
resumed:
  description: Those among them that an earlier run had begun to send.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
up_to_date:
  description: Those that the server has.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
refreshed:
  description:
    - Those among them whose manifest on the server now says that they were confirmed later. That is no change, and where the
      account may not replace a file it is a warning.
    - So are those whose manifest was lost there and is put back, which is a change.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
not_sent:
  description: The backups that are not good or that are deleted on the server, and were not sent.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: dict
  contains:
    filename:
      description: Name of the payload.
      type: str
    reason:
      description: Why it was not sent.
      type: str
failed_uploads:
  description: The backups that could not be sent. The task then fails.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: dict
  contains:
    filename:
      description: Name of the payload.
      type: str
    error:
      description: What went wrong, as in RV(error).
      type: dict
bytes:
  description: How much was sent.
  returned: success and failure, as soon as the plan is made
  type: int
seconds:
  description: How long all of it took.
  returned: success and failure, as soon as the plan is made
  type: float
error:
  description:
    - What went wrong, for programs. Beside the code it has what the problem calls for.
    - Of several backups that could not be sent, it is the first one's.
  returned: failure
  type: dict
  contains:
    code:
      description: A name for what went wrong that stays the same, such as V(name_conflict), V(connection_lost) or V(no_space).
      type: str
"""

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleResult, ModuleRunner, now, run_module
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import (
    DIRECTORY_SPEC,
    SELECTION_SPEC,
    Params,
    at_least,
    directory_from,
    selection_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.retention import RETENTION_SPEC, rules_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import (
    ONE_REMOTE,
    REMOTE_SPEC,
    bandwidth_from,
    connector_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.upload import UploadRequest, upload
from ansible_collections.lastgood.database.plugins.module_utils._stores.local import LocalStore


def send(module: AnsibleModule, runner: ModuleRunner) -> ModuleResult:
    """Send what the module's options say."""
    params: Params = module.params
    request = UploadRequest(
        source=LocalStore(directory_from(params), is_stopped=runner.is_stopped),
        selection=selection_from(params),
        connect=connector_from(params, check_mode=module.check_mode, runner=runner),
        verify=params["verify"],
        connections=at_least(params, "connections", 1),
        bandwidth_limit=bandwidth_from(params),
        retention=None if params["retention"] is None else rules_from(params["retention"]),
        is_stopped=runner.is_stopped,
    )
    report = upload(request, now, check_mode=module.check_mode)
    values = report.values()
    if module._diff:
        values["diff"] = report.diff()
    return ModuleResult(values, report.warnings, report.failure)


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **DIRECTORY_SPEC,
            **SELECTION_SPEC,
            **REMOTE_SPEC,
            "verify": {"type": "str", "choices": ["size", "sha256"], "default": "size"},
            "connections": {"type": "int", "default": 2},
            "bandwidth_limit": {"type": "str"},
            "retention": {"type": "dict", "options": RETENTION_SPEC},
        },
        mutually_exclusive=[ONE_REMOTE],
        required_one_of=[ONE_REMOTE],
        supports_check_mode=True,
    )
    run_module(module, lambda runner: send(module, runner))


if __name__ == "__main__":
    main()

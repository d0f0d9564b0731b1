#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_upload
short_description: Send good backups to an SFTP server, and verify that they arrive
version_added: 0.1.0
description:
  - Sends the good backups of a directory that an SFTP server does not have yet, each with its manifest.
  - A backup gets its name on the server only when it is complete. An interrupted upload leaves a partial, and the next run
    resumes it, after it has compared the partial with the backup.
  - A backup that has the same name and digest on the server is not sent again. A backup of the same name with different content
    is never replaced, unless it does not match its own manifest. To find out, the module does not read the copy. It compares
    the size, and reads a failed verdict of the level V(checksum) from the manifest.
  - When one backup can't be sent, the others are still sent, and the task fails at the end. The local backups are not changed.
  - The module replaces a copy that does not match its own manifest, and deletes partials of earlier runs that are of no use. It
    deletes no other file on the server. Use M(lastgood.database.backup_prune) for that.
  - Backups that were deleted on the server, by O(retention) or by other means, are not sent again, unless they are pinned.
  - A pin and labels that M(lastgood.database.backup_label) changed in O(directory) are carried to the copy on the server. If they
    were changed on the server as well, the later change stands, of the pin and of the labels separately. So a pin that was made
    on the server stays until it is removed there, or the backup in O(directory) is pinned or unpinned later. Changes that were
    made on the server are not carried back.
  - O(newest) counts good backups. RV(not_sent) lists newer backups that are not good.
  - It is an error if a named backup or database, or the O(directory), does not exist. In check mode such errors are ignored,
    because an earlier task may be the one that makes them.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup
  - lastgood.database._progress
  - lastgood.database._retention
  - lastgood.database._selection
  - lastgood.database._sftp
attributes:
  check_mode:
    support: full
    details:
      - Check mode lists the backups on the server, but writes nothing, neither to the server nor to the known hosts file.
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
      - How to verify that a backup arrived before it gets its name.
      - V(size) compares the size. V(sha256) reads all of it back, which takes as long as sending it.
    type: str
    choices: [size, sha256]
    default: size
  connections:
    description: How many connections to use to send several backups at the same time.
    type: int
    default: 2
  bandwidth_limit:
    description:
      - How much to send per second at most, over all connections, such as V(10M) for 10 MiB. By default there is no limit.
    type: str
  retention:
    description:
      - The rules by which M(lastgood.database.backup_prune) deletes backups on the server. Backups that they would delete are
        not sent, see RV(not_sent).
      - Without it, a backup that the server lacks, and that is older than the newest good one of its group on the server,
        counts as deleted by other means and is not sent. A backup that an earlier run had begun to send, or that is pinned, is
        sent.
      - A backup in O(names) is always sent.
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
  description: File names of the backups that were sent, or in check mode would be.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
  sample: [backup_app_2026-01-31_01-00-00.dump.gz]
resumed:
  description: Those in RV(uploaded) that an earlier run had begun to send.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
up_to_date:
  description: The backups that the server has already.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
refreshed:
  description:
    - Those in RV(up_to_date) whose manifest on the server got a newer time of confirmation. This is no change. If the account
      may not replace a file, it is a warning.
    - Also those whose manifest was missing on the server and was written again, and those whose pin or labels there changed,
      which is a change. If the account may not replace a file, it is an error.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
not_sent:
  description: The backups that were not sent because they are not good or were deleted on the server.
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
  description:
    - The backups that could not be sent. The task then fails.
    - One whose connection broke at the very end may have arrived all the same. The next run then has it in RV(up_to_date).
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
  description: How many bytes were sent.
  returned: success and failure, as soon as the plan is made
  type: int
seconds:
  description: How long the run took.
  returned: success and failure, as soon as the plan is made
  type: float
error:
  description:
    - What went wrong, for programs. It has the code, and further values for some codes.
    - If several backups could not be sent, the error of the first one.
  returned: failure
  type: dict
  contains:
    code:
      description: A name for what went wrong that stays the same, such as V(name_conflict), V(connection_lost) or V(no_space).
      type: str
"""

import contextlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import run_operation
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import (
    DIRECTORY_SPEC,
    PROGRESS_SPEC,
    SELECTION_SPEC,
    directory_from,
    selection_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.retention import RETENTION_SPEC, rules_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import (
    REMOTE_SPEC,
    bandwidth_from,
    connector_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._operations.upload import UploadRequest, upload
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, at_least
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[UploadRequest]:
    """Yield the request that the module's options make."""
    with contextlib.closing(LocalStore(directory_from(params), is_stopped=context.is_stopped)) as source:
        yield UploadRequest(
            source=source,
            selection=selection_from(params),
            connect=connector_from(params, check_mode=context.check_mode, runner=context.runner),
            verify=params["verify"],
            connections=at_least(params, "connections", 1),
            bandwidth_limit=bandwidth_from(params),
            retention=None if params["retention"] is None else rules_from(params["retention"]),
        )


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
            **PROGRESS_SPEC,
        },
        supports_check_mode=True,
    )
    run_operation(module, request_from, upload)


if __name__ == "__main__":
    main()

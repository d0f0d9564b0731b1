#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_download
short_description: Fetch good backups to the controller
version_added: 0.1.0
description:
  - Fetches good backups of a host, or of a directory on an SFTP server, into the folder
    C(dest/inventory_hostname) of the controller, each with its manifest. Several hosts are fetched from at the same time.
  - A backup gets its name on the controller only when its size and its SHA-256 are those of its manifest. An interrupted download
    leaves a partial, and the next run continues it. If the digest is then wrong, the download begins anew.
  - A backup that the controller has already is not fetched again. A backup of the same name with different content is never
    replaced, unless it does not match its own manifest.
  - When one backup can't be fetched, the others are still fetched, and the task fails at the end. Nothing on the host changes.
  - Backups that are not good are not fetched, see RV(not_downloaded). It is an error if a named backup is not good, and if no
    selected one is.
  - A pin and labels of a copy on the controller stay, unless they were changed later on the host.
  - To restore a backup on a host, copy it and its manifest there with M(ansible.builtin.copy), and use
    M(lastgood.database.db_restore).
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup
  - lastgood.database._selection
  - lastgood.database._sftp
attributes:
  action:
    description: Has an action plugin, which runs on the controller. The module on the host lists the backups.
    support: full
  async:
    description: Supports being run with the C(async) keyword.
    support: none
  check_mode:
    support: full
    details:
      - Check mode makes no folder and fetches nothing, but reads copies that were not read since they were written.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  directory:
    description:
      - Directory of the backups on the host, as an absolute path. Exactly one of it and O(sftp) is required.
      - A symbolic link is refused. Name the directory that it leads to.
    type: path
  sftp:
    description:
      - The directory on an SFTP server, instead of one on the host. The controller connects to the server itself, and not to the
        host. So the key and the file of known hosts are files of the controller, which needs paramiko.
  dest:
    description:
      - Folder on the controller, in which each host has a folder of its own, named after its C(inventory_hostname).
      - Missing folders are made with mode V(0700), and files with mode V(0600), as the user who runs Ansible.
    type: path
    required: true
  archive:
    description:
      - Put the backups into one file C(backups.zip), C(backups.tar.gz) or C(backups.tar) in the host's folder, as
        M(lastgood.database.backup_archive) does, instead of one file each.
      - The archive is written as the backups arrive. It needs only the room for itself, and 64 MiB for a piece. An interrupted
        one begins anew.
    type: str
    choices: [zip, tar.gz, tar]
  verify:
    description:
      - Whether to read also the backups that the controller has, and to compare their digests. A damaged one is fetched again.
      - Without it, a file is read only if it was written to or replaced since it was last read.
    type: bool
    default: false
  progress:
    description: How many seconds pass between two lines that show how far the download is. V(0) shows none.
    type: int
    default: 10
notes:
  - If the user that the connection logs in as may read the backups, the connections C(ssh), C(paramiko) and C(local) fetch them
    whole. Over another connection, or if only the user that the task becomes may read them, they are copied in pieces of 64 MiB
    to C(/var/tmp) on the host, which the connection then fetches one by one. Ansible's own M(ansible.builtin.fetch) would hold a
    whole backup in memory, on both ends.
  - The ssh connection fetches without its compression (C(-C) of Ansible's C(ssh_args)), since backups are compressed already.
seealso:
  - module: lastgood.database.backup_archive
  - module: lastgood.database.backup_upload
  - module: lastgood.database.db_restore
"""

EXAMPLES = r"""
---
- name: Fetch the newest good backup of each database
  lastgood.database.backup_download:
    directory: /var/lib/postgresql/backups
    newest: 1
    dest: /srv/copies
  become: true
  become_user: postgres

- name: Fetch the backups of one database as one file
  lastgood.database.backup_download:
    directory: /var/lib/postgresql/backups
    databases:
      - app
    dest: /srv/copies
    archive: zip
  become: true
  become_user: postgres

- name: Fetch from the SFTP server, although the host is lost
  lastgood.database.backup_download:
    sftp:
      host: backup.example.org
      user: db7
      private_key_file: ~/.ssh/id_ed25519
      remote_directory: backups/db7
    newest: 1
    dest: /srv/copies
"""

RETURN = r"""
dest:
  description: The host's folder on the controller.
  returned: success and failure, as soon as the plan is made
  type: str
  sample: /srv/copies/db7
downloaded:
  description: File names of the backups that were fetched, or in check mode would be.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
resumed:
  description: Those of RV(downloaded) of which an earlier run had fetched a part. Without O(archive).
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
up_to_date:
  description: File names of the selected backups that the controller already had.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
refreshed:
  description:
    - Those of RV(up_to_date) whose manifest was updated. A newer time of confirmation alone is not a change.
    - Without O(archive).
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
not_downloaded:
  description: The selected backups that are not good.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: dict
  contains:
    filename:
      description: Name of the payload.
      type: str
    reason:
      description: Why it is not fetched.
      type: str
      sample: it is corrupt
failed_downloads:
  description: The backups that could not be fetched, each with filename and error. Without O(archive).
  returned: success and failure, as soon as the plan is made
  type: list
  elements: dict
archive:
  description: The archive.
  returned: with O(archive)
  type: str
  sample: /srv/copies/db7/backups.zip
sha256:
  description: SHA-256 of the archive. Null in check mode if it would be made.
  returned: with O(archive)
  type: str
bytes:
  description: How many bytes were fetched.
  returned: success and failure, as soon as the plan is made
  type: int
seconds:
  description: How long the download took, on the controller.
  returned: success and failure, as soon as the plan is made
  type: float
error:
  description: What went wrong, for programs. If several backups could not be fetched, the error of the first one.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        A name for what went wrong that stays the same, such as V(nothing_found), V(backup_missing), V(payload_corrupt),
        V(connection_lost), V(locked) or V(no_space).
      type: str
"""

import contextlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import run_operation
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import selection_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.download import DOWNLOAD_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import ONE_STORE, store_from
from ansible_collections.lastgood.database.plugins.module_utils._operations.offer import OfferRequest, offer
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[OfferRequest]:
    """Yield the request that the module's options make."""
    with contextlib.closing(store_from(params, check_mode=context.check_mode, runner=context.runner)) as store:
        yield OfferRequest(store, selection_from(params))


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec=DOWNLOAD_SPEC,
        mutually_exclusive=[ONE_STORE],
        required_one_of=[ONE_STORE],
        supports_check_mode=True,
    )
    run_operation(module, request_from, offer)


if __name__ == "__main__":
    main()

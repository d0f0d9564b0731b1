#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_label
short_description: Pin backups so that they are never pruned, and label them
version_added: 0.1.0
description:
  - Pins and unpins backups, and sets and removes their labels. Both are recorded in the manifest of the backup. The payload is
    neither read nor changed.
  - A pinned backup is never deleted by M(lastgood.database.backup_prune), whatever its state. It counts for no rule of retention,
    so that the other backups of the database are retained and deleted as if it did not exist. It may be the last good backup of
    its database all the same, and is restored as such.
  - Each copy of a backup has a manifest of its own. M(lastgood.database.backup_upload) carries a pin and labels that were changed
    in the directory to the copy on the server, unless they were changed later there. To change only the copy, use O(sftp).
  - If one of the backups does not exist or can't be labelled, none is changed, and the task fails.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup
  - lastgood.database._sftp
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - The diff has the pin and the labels of each backup.
  idempotent:
    support: full
options:
  directory:
    description:
      - Directory of the backups, as an absolute path. Exactly one of it and O(sftp) is required.
      - A symbolic link is refused. Name the directory that it leads to.
    type: path
  names:
    description:
      - File names of the backups, without a directory, as M(lastgood.database.db_backup) and M(lastgood.database.backup_facts)
        return them. An empty list is an error.
      - In check mode M(lastgood.database.db_backup) returns no name for a backup that it would make. Skip the task then.
    type: list
    elements: str
    required: true
  pinned:
    description:
      - Whether the backups are pinned. By default they stay as they are.
      - One of it and O(labels) is required.
    type: bool
  labels:
    description:
      - Labels to set, as texts by key. Other labels of the backups stay. A key whose value is null is removed.
      - A key has up to 63 letters, digits, dots, underscores, slashes and hyphens, and begins with a letter or a digit. A value
        is one line of printable characters, of at most 256 bytes in UTF-8. A backup has at most 32 labels.
      - A value that YAML does not read as text is refused, because V(1.10) would become V(1.1). Write it in quotes.
    type: dict
notes:
  - SFTP has no locks. If another host prunes the directory on the server at the same moment, a backup may be deleted although it
    was just pinned, and the task then fails, unless the deletion comes later. In a directory of the host a lock excludes that.
seealso:
  - module: lastgood.database.backup_prune
  - module: lastgood.database.backup_facts
"""

EXAMPLES = r"""
---
- name: Back up before an upgrade
  lastgood.database.db_backup:
    directory: /var/lib/postgresql/backups
    databases:
      - app
  become: true
  become_user: postgres
  register: dumped

- name: Keep this backup until it is unpinned
  lastgood.database.backup_label:
    directory: /var/lib/postgresql/backups
    names: "{{ dumped.backups | map(attribute='filename') | list }}"
    pinned: true
    labels:
      app_version: '2.10'
      reason: before the upgrade to 3.0
  become: true
  become_user: postgres
  when: not ansible_check_mode

- name: Let retention decide again, and remove a label
  lastgood.database.backup_label:
    directory: /var/lib/postgresql/backups
    names:
      - backup_app_2026-01-31_01-00-00.dump.gz
    pinned: false
    labels:
      reason: null
  become: true
  become_user: postgres

- name: Pin a backup on the SFTP server only
  lastgood.database.backup_label:
    sftp:
      host: backup.example.org
      user: db7
      private_key_file: /etc/lastgood/id_ed25519
      remote_directory: backups/db7
    names:
      - backup_app_2026-01-31_01-00-00.dump.gz
    pinned: true
"""

RETURN = r"""
backups:
  description:
    - The backups as they are now, or in check mode would be, in the order of O(names). Each has all that
      RV(lastgood.database.backup_facts#module:ansible_facts.database_backups.files) has, except the times of uploads.
    - If the task fails in the middle, for example because the disk is full, those that were not reached are as they were.
  returned: success and failure, as soon as all backups are found
  type: list
  elements: dict
  contains:
    filename:
      description: Name of the payload.
      type: str
      sample: backup_app_2026-01-31_01-00-00.dump.gz
    database:
      description: Name of the database. Null for globals.
      type: str
      sample: app
    state:
      description: V(good), V(suspect) or V(corrupt). An V(unverified) backup has no manifest to label, and is an error.
      type: str
      sample: good
    pinned:
      description: Whether it is pinned.
      type: bool
      sample: true
    labels:
      description: Its labels. Empty where it has none.
      type: dict
      sample:
        app_version: '2.10'
error:
  description: What went wrong, for programs. Beside the code it has what the problem calls for.
  returned: failure
  type: dict
  contains:
    code:
      description: A name for what went wrong that stays the same, such as V(backup_missing) or V(manifest_unusable).
      type: str
"""

import contextlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import run_operation
from ansible_collections.lastgood.database.plugins.module_utils._arguments.labels import labels_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import ONE_STORE, STORE_SPEC, store_from
from ansible_collections.lastgood.database.plugins.module_utils._operations.label import LabelRequest, label
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, list_from


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[LabelRequest]:
    """Yield the request that the module's options make."""
    names, labels = list_from(params, "names") or (), labels_from(params)
    with contextlib.closing(store_from(params, check_mode=context.check_mode, runner=context.runner)) as store:
        yield LabelRequest(store, names, params["pinned"], labels)


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **STORE_SPEC,
            "names": {"type": "list", "elements": "str", "required": True},
            "pinned": {"type": "bool"},
            "labels": {"type": "dict"},
        },
        mutually_exclusive=[ONE_STORE],
        required_one_of=[ONE_STORE, ("pinned", "labels")],
        supports_check_mode=True,
    )
    run_operation(module, request_from, label)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_archive
short_description: Put backups into one archive file
version_added: 0.1.0
description:
  - Writes the selected backups and their manifests into one zip or tar file on the host. Its first member, C(index.json), lists
    the others with sizes and digests.
  - Reads each payload and compares it with its manifest. A payload that differs is an error that names it, and no archive is
    made. Backups that are V(unverified) or V(suspect) are included, and the index says so.
  - The archive gets its name only when it is whole. A run that fails leaves an earlier archive of that name as it was.
  - Removes unfinished archives that killed runs left in the folder of O(dest), with a warning.
  - Does not compress, since backups are compressed. The same backups give the same bytes.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup
  - lastgood.database._files
  - lastgood.database._selection
attributes:
  check_mode:
    support: full
    details:
      - Check mode does not read the payloads, so it does not find a damaged one.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - The module recognizes an archive of the same selection by its index and size, and does not read the payloads again,
        except those without a manifest. It makes no new archive only because backups were confirmed, verified, pinned or
        labelled since.
options:
  directory:
    description:
      - Directory of the backups, as an absolute path.
      - A symbolic link is refused. Name the directory that it leads to.
    type: path
    required: true
  dest:
    description:
      - File to write, as an absolute path. Its directory must exist, and must not be a symbolic link.
      - It may be in O(directory), but its name must not look like that of a backup. A link or a directory is refused.
    type: path
    required: true
  format:
    description:
      - By default taken from the suffix of O(dest), which is C(.zip), C(.tar.gz), C(.tgz) or C(.tar). Any other suffix is an
        error.
      - V(tar.gz) is for programs that need this format. It is no smaller than V(tar).
    type: str
    choices: [zip, tar.gz, tar]
  ignore_missing:
    description:
      - Whether to make the archive even if no backup exists for some of O(names) or O(databases).
      - It is still an error if no backup exists for any of them.
    type: bool
    default: false
seealso:
  - module: lastgood.database.backup_facts
  - module: lastgood.database.db_backup
"""

EXAMPLES = r"""
---
- name: Put the newest backup of each database into one file
  lastgood.database.backup_archive:
    directory: /var/lib/postgresql/backups
    newest: 1
    dest: /var/lib/postgresql/newest.zip

- name: Put all backups of two databases into a file that a group may read
  lastgood.database.backup_archive:
    directory: /var/lib/postgresql/backups
    databases:
      - app
      - billing
    dest: /srv/handover/backups.tar
    group: auditors
    mode: '0640'
"""

RETURN = r"""
dest:
  description: The archive.
  returned: success
  type: str
  sample: /var/lib/postgresql/newest.zip
members:
  description: The backups in the archive, sorted by file name, as in C(index.json).
  returned: success
  type: list
  elements: dict
  contains:
    filename:
      description: Name of the payload.
      type: str
      sample: backup_app_2026-01-31_01-00-00.dump.gz
    bytes:
      description: Size of the payload in bytes.
      type: int
    sha256:
      description: SHA-256 of the payload.
      type: str
    state:
      description: V(good), V(unverified) or V(suspect), see M(lastgood.database.backup_facts).
      type: str
    created_at:
      description: The moment before the dump, in UTC.
      type: str
      sample: '2026-01-31 01:00:00'
    origin:
      description: The host of which it is. Null, like engine and instance, where no manifest says it.
      type: str
    engine:
      description: The kind of database.
      type: str
    instance:
      description: PostgreSQL's system identifier, or the real path of an SQLite file.
      type: str
    kind:
      description: V(database), or V(globals) for a cluster's roles and tablespaces.
      type: str
    database:
      description: Name of the database. Null for globals.
      type: str
    partial:
      description: Whether arguments of C(pg_dump) left a part of the database out. Such backups are a group of their own.
      type: bool
    partial_arguments:
      description: The arguments that left it out. Empty for a whole backup.
      type: list
      elements: str
    manifest:
      description: Its manifest, with filename, bytes and sha256. Null if it has none.
      type: dict
missing:
  description: The requested names and databases without a backup. Always empty without O(ignore_missing).
  returned: success
  type: list
  elements: str
bytes:
  description: Size of the archive in bytes.
  returned: success
  type: int
sha256:
  description: SHA-256 of the archive. Null in check mode if the archive would be made.
  returned: success
  type: str
error:
  description: What went wrong, for programs. Beside the code it has what the problem calls for.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        A name for what went wrong that stays the same, such as V(nothing_found), V(backup_missing), V(payload_corrupt) or
        V(destination_unusable).
      type: str
"""

import contextlib
import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import file_attributes, run_operation
from ansible_collections.lastgood.database.plugins.module_utils._archives.registry import FORMATS
from ansible_collections.lastgood.database.plugins.module_utils._arguments.archives import archive_format_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import (
    DIRECTORY_SPEC,
    FILE_SPEC,
    SELECTION_SPEC,
    destination_from,
    directory_from,
    selection_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.archive import ArchiveRequest, archive
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[ArchiveRequest]:
    """Yield the request that the module's options make."""
    is_stopped = context.is_stopped
    directory, filename = os.path.split(destination_from(params))
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(LocalStore(directory_from(params), is_stopped=is_stopped)))
        folder = stack.enter_context(contextlib.closing(LocalStore(directory, file_attributes(params), is_stopped)))
        yield ArchiveRequest(
            store=store,
            selection=selection_from(params),
            folder=folder,
            filename=filename,
            format=archive_format_from(params),
            ignore_missing=params["ignore_missing"],
        )


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **DIRECTORY_SPEC,
            **FILE_SPEC,
            **SELECTION_SPEC,
            "dest": {"type": "path", "required": True},
            "format": {"type": "str", "choices": list(FORMATS)},
            "ignore_missing": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_operation(module, request_from, archive)


if __name__ == "__main__":
    main()

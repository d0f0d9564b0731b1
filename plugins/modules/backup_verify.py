#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_verify
short_description: Verify backups, and record the verdicts
version_added: 0.1.0
description:
  - Reads each backup from end to end, and reports whether it is unchanged since it was made. Deeper levels also report whether
    the database's own programs can read it, and whether it can be restored.
  - The module writes the verdict to the manifest of the copy that it verified, where M(lastgood.database.backup_facts) reads
    it. A backup with a wrong size or digest becomes V(corrupt), and one whose content can't be read becomes V(suspect). Neither
    counts as good any more. Other backups are not changed.
  - A backup fails only if a second reading, which bypasses the host's cache, gives the same result.
  - When a backup fails, the others are still verified, and the task fails at the end.
  - The verdict is V(inconclusive) if the host lacks something that the verification needs, such as a program, an extension or
    the right to read the backup. It is also V(inconclusive) if the disk reports an error, or if an SFTP server does not send
    the backup, because such a server does not say why. An inconclusive verdict is a warning, and the state of the backup does
    not change. A backup that retention deletes in the meantime gets no verdict.
  - An encrypted backup is opened by O(identity) or O(identity_file). The level V(checksum) needs neither. At the other levels the
    verdict is V(inconclusive) without them, and also if they do not open the backup, since that says nothing about it.
  - A verification at a lower level does not clear a failure at a higher level. A backup that failed at V(structure) and
    passes at V(checksum) is still suspect.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup_login
  - lastgood.database._identity
  - lastgood.database._login
  - lastgood.database._progress
  - lastgood.database._selection
  - lastgood.database._sftp
attributes:
  check_mode:
    support: full
    details:
      - Check mode reads the backups, and reports the verdicts, but records nothing.
      - Check mode restores nothing to a server that the login options name. O(level=restore) is then V(inconclusive).
  diff_mode:
    support: full
    details:
      - The diff has the state of each backup, and the verdict on record.
  idempotent:
    support: full
    details:
      - When a verdict is the same as before, only its time is renewed, which is no change.
options:
  directory:
    description:
      - Directory of the backups, as an absolute path. Exactly one of it and O(sftp) is required.
      - A symbolic link is refused. Name the directory that it leads to.
    type: path
  bin_directory:
    description:
      - Directory of the databases' programs, such as V(/opt/postgresql/18/bin).
      - It may have the programs of one engine, and O(directory) the backups of several. A program that it lacks is searched for
        as without this option, unless the directory is empty or does not exist.
      - By default the module searches the directories where the distributions install each version, then E(PATH). It uses the
        version of the backup's server if it is installed, else the nearest newer one.
    type: path
  level:
    description:
      - V(checksum) compares the sizes and digests of the payload and of its content with those in the manifest.
      - V(structure) also reads the content with the database's own programs. C(pg_restore) reads every block of a PostgreSQL
        archive, without a server. A plain dump must end with its trailer. A dump of MariaDB or MySQL is read by a parser
        that knows its statements, and fails if one of them is incomplete or would leave the database. C(PRAGMA
        integrity_check) checks a private copy of an SQLite database, which needs space in the directory for temporary files
        (E(TMPDIR)). From an SFTP server each payload is read as with V(checksum), and nothing of it is retained.
      - The check of an SQLite database may use 64 MiB of memory, and 60 seconds plus one second for each MiB. If a database
        needs more, or uses features that the host's SQLite does not have, the verdict is V(inconclusive). If values violate a
        constraint of their table, such as C(NOT NULL), the detail names them, and the backup passes, because the original
        database has the same values.
      - If a backup without a manifest passes V(structure), the module writes a manifest, and the backup becomes good. Its
        origin and instance are V(unknown), so it forms a group separate from the backups that M(lastgood.database.db_backup)
        made, also for retention.
      - V(restore) restores the backup, and counts the restored tables and rows. A PostgreSQL backup is restored to a temporary
        server, which is started for this backup from the host's own programs and always removed afterwards. A restore runs code
        from the dump, so that server runs in a sandbox, without access to the host's files, processes and network. Its folder,
        with mode C(0700), is in E(TMPDIR). Where the module runs as root, the server has a user id that owns nothing. Otherwise
        the user must be allowed to create user namespaces. If the host supports no sandbox, nothing is restored, and the
        verdict is V(inconclusive). From PostgreSQL 17 on, event triggers are disabled. The module creates the roles that owners
        and grants need on that server, so the globals are not needed. A backup of MariaDB or MySQL is restored in the same way,
        by the host's own server of that product, which runs no events. An SQLite database is checked as with V(structure), and
        its rows are counted.
      - With V(restore), globals are executed in full, except for tablespaces, whose directories are on the host.
      - If the server lacks something, such as an extension, a tablespace or a setting, the verdict is V(inconclusive). The
        module determines this from the SQLSTATE and the statement that failed. For that it restores a failed archive a second
        time.
      - V(restore) needs space in E(TMPDIR) for the uncompressed backup and for the database. It takes as long as a restore.
      - If an option names a server, such as O(login_host) or O(login_unix_socket), V(restore) uses that server instead. It
        creates a database C(<database>_restoring_<time>) on it, and always drops that database afterwards. The code in the
        backup then runs with the rights of O(login_user) on a server that others use, and a missing role makes the verdict
        V(inconclusive). In check mode such a server is not changed, and the verdict of every backup of such a server
        is V(inconclusive).
    type: str
    choices: [checksum, structure, restore]
    default: checksum
requirements:
  - pg_restore of the major version of the dump or newer, for O(level=structure) of PostgreSQL's archives
  - PostgreSQL's server programs of the major version of the dump or newer, for O(level=restore) without a server of yours
  - the server and client programs of MariaDB or MySQL, whichever was dumped, for O(level=restore)
  - util-linux, as another user than root 2.36 or newer, for O(level=restore) without a server of yours
seealso:
  - module: lastgood.database.backup_facts
  - module: lastgood.database.db_backup
"""

EXAMPLES = r"""
---
- name: Verify that the newest backup of each database is unchanged since it was made
  lastgood.database.backup_verify:
    directory: /var/lib/postgresql/backups
    newest: 1

- name: Verify that PostgreSQL can read all backups of one database
  lastgood.database.backup_verify:
    directory: /var/lib/postgresql/backups
    databases:
      - app
    level: structure

- name: Verify that the newest backup of each database can be restored
  lastgood.database.backup_verify:
    directory: /var/lib/postgresql/backups
    newest: 1
    level: restore
  register: drill

- name: Verify that the newest backup of each database on an SFTP server is unchanged since it was sent
  lastgood.database.backup_verify:
    sftp:
      host: backup.example.org
      user: db7
      private_key_file: /root/.ssh/backup
      remote_directory: backups/db7
    newest: 1

- name: Restore the newest encrypted backups on a host that has the private key, read from the SFTP server
  lastgood.database.backup_verify:
    sftp:
      host: backup.example.org
      user: drill
      private_key_file: /root/.ssh/drill
      remote_directory: backups/db7
    newest: 1
    level: restore
    identity_file: /root/backup-identity.txt

- name: Find out which backups the old key opens, and the new key does not
  lastgood.database.backup_verify:
    directory: /srv/copies/db7
    identity: "{{ new_identity }}"
  register: rotation

- name: Show them
  ansible.builtin.debug:
    msg: "{{ rotation.verified | selectattr('readable_by', 'equalto', []) | map(attribute='filename') }}"

- name: Show the verdicts
  ansible.builtin.debug:
    msg: "{{ item.database or item.kind }}: {{ item.verdict }}, {{ item.detail }}"
  loop: "{{ drill.verified }}"
  loop_control:
    label: "{{ item.filename }}"
"""

RETURN = r"""
verified:
  description: A verdict for each backup, the oldest first.
  returned: success and failure, as soon as the backups are known
  type: list
  elements: dict
  contains:
    filename:
      description: Name of the payload.
      type: str
      sample: backup_app_2026-01-31_01-00-00.dump.gz
    origin:
      description: The host of which it is. Null, like engine and instance, where no manifest says it.
      type: str
    engine:
      description: The kind of database.
      type: str
    instance:
      description: PostgreSQL's system identifier, or the real path of an SQLite file.
      type: str
    source:
      description: Where the instance was reached when the backup was made, such as V(/var/run/postgresql:5432).
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
    level:
      description: The level of the verification that decided, V(checksum), V(structure) or V(restore).
      type: str
    verdict:
      description: V(passed), V(failed) or V(inconclusive).
      type: str
    detail:
      description: The result, in words.
      type: str
    tables:
      description:
        - How many tables were restored. Each partition of a partitioned table counts as one. Views, foreign tables and virtual
          tables do not count. Null except for a V(restore) that passed.
      type: int
    rows:
      description: How many rows these tables have together. Null if RV(verified[].tables) is null.
      type: int
    seconds:
      description: How long the verification took. With V(restore), this includes the start of the server.
      type: float
    state:
      description: The state of the backup after the verdict, V(good), V(unverified), V(suspect) or V(corrupt).
      type: str
    readable_by:
      description:
        - Which keys of the given identity open the backup, by the ids that C(recipients) of a backup has. These are public. For
          age they are public keys or the fingerprints of SSH keys, and for GnuPG the fingerprints of primary keys.
        - Empty if none of them does. Null for a backup that is not encrypted, and without an identity.
      type: list
      elements: str
      sample: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
error:
  description: What went wrong, for programs. Beside the code it has what the problem calls for.
  returned: failure
  type: dict
  contains:
    code:
      description: A name for what went wrong that stays the same, such as V(verification_failed) or V(backup_missing).
      type: str
"""

import contextlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import (
    run_operation,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import (
    PROGRESS_SPEC,
    SELECTION_SPEC,
    selection_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.engines import examination_options_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.identity import IDENTITY_SPEC, identity_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.login import LOGIN_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import ONE_STORE, STORE_SPEC, store_from
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import LEVELS
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._operations.verify import VerifyRequest, verify
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[VerifyRequest]:
    """Yield the request that the module's options make."""
    selection = selection_from(params)
    options = examination_options_from(params, check_mode=context.check_mode)
    identity = identity_from(params)
    with contextlib.closing(store_from(params, check_mode=context.check_mode, runner=context.runner)) as store:
        yield VerifyRequest(store, selection, params["level"], options, identity)


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **STORE_SPEC,
            **SELECTION_SPEC,
            **LOGIN_SPEC,
            **IDENTITY_SPEC,
            "level": {"type": "str", "choices": list(LEVELS), "default": "checksum"},
            **PROGRESS_SPEC,
        },
        mutually_exclusive=[ONE_STORE],
        required_one_of=[ONE_STORE],
        supports_check_mode=True,
    )
    run_operation(module, request_from, verify)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_verify
short_description: Look whether backups are good, and write down the verdict
version_added: 0.1.0
description:
  - Reads each backup from end to end, and says whether it is what it was when it was made, whether the database's own programs
    can read it, and whether it can be restored.
  - The verdict is written to the manifest of the copy that was looked at, where M(lastgood.database.backup_facts) finds it. A
    backup of the wrong size or digest is V(corrupt) from then on, and one whose content can't be read V(suspect). Neither counts
    as good any more, and no other backup is touched.
  - What speaks against a backup counts only when a second reading, which does not come from the host's memory, agrees.
  - When a backup failed, the others are looked at all the same, and the task fails at the end.
  - A backup that could not be looked at for lack of something, such as a program, an extension or the right to read it, is
    V(inconclusive). So is one for which the disk gives an error, or that an SFTP server does not send, for it does not say why.
    That is a warning, and what was known of the backup stays. One that is deleted meanwhile, by retention, gets no verdict.
  - A look that is less deep takes back no verdict of a deeper one. What failed at V(structure) and passes at V(checksum) is still
    suspect.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup_login
  - lastgood.database._login
  - lastgood.database._selection
  - lastgood.database._sftp
attributes:
  check_mode:
    support: full
    details:
      - Check mode reads the backups, and says what it finds, but writes nothing.
      - On a server that the options of the login say, nothing is restored, and O(level=restore) is V(inconclusive).
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
  level:
    description:
      - V(checksum) compares size and SHA-256 with those in the manifest, of the payload and of what is inside.
      - V(structure) lets the database's own programs read it as well. Of an archive of PostgreSQL's, C(pg_restore) reads every
        block, without a server. A plain dump has to end with its trailer. Of an SQLite database, C(PRAGMA integrity_check)
        looks at a private copy, which needs room in the directory for temporary files (E(TMPDIR)). From an SFTP server each
        payload is read as it is with V(checksum), and nothing of it is kept.
      - The check of an SQLite database gets 64 MiB of memory, and 60 seconds with one more for each MiB. A database that needs
        more, or that uses what the host's SQLite does not have, is V(inconclusive). Values that break a rule of their table, such
        as C(NOT NULL), are named in the detail, and the backup passes, because the database that was backed up has them too.
      - With V(structure) a backup without a manifest that is found whole gets one, and counts as good from then on. Nobody knows
        where it is from, so its origin and its instance are V(unknown). It never stands for a backup that
        M(lastgood.database.db_backup) made, and counts apart in retention.
      - V(restore) restores it, and counts the tables and rows that came back. A backup of PostgreSQL goes to a server that is
        started for it alone from the host's own programs, and removed whatever happens. Whoever restores a dump runs its code, so
        that server runs in a sandbox, without the host's files, processes and network. Its folder of mode C(0700) is in
        E(TMPDIR). Where the module runs as root, the server has a user id that owns nothing. Otherwise the user has to have the
        right to make user namespaces. Where the host has no sandbox, nothing is restored, and the backup is V(inconclusive).
        Event triggers are off from PostgreSQL 17 on. Roles that owners and grants need are made there, so that the globals are
        not needed. An SQLite database is checked as with V(structure), and its rows are counted.
      - Globals are executed in full, with V(restore), but for tablespaces, whose directories are the host's.
      - What the server lacks, such as an extension, a tablespace or a setting, makes a backup V(inconclusive), by the SQLSTATE
        and the statement that failed. An archive that fails is restored a second time to find that out.
      - For V(restore) there has to be room in E(TMPDIR) for the unpacked backup and for the database. It takes as long as a
        restore.
      - With an option that says where a server is, such as O(login_host) or O(login_unix_socket), V(restore) uses that server
        instead. A database C(<database>_restoring_<time>) is made there, and dropped whatever happens. The code in the backup
        then runs with the rights of O(login_user) on a server that others use, and a role that is missing is V(inconclusive). So
        is every backup of PostgreSQL in check mode, where such a server is left alone.
    type: str
    choices: [checksum, structure, restore]
    default: checksum
requirements:
  - pg_restore of the major version of the dump or newer, for O(level=structure) of PostgreSQL's archives
  - PostgreSQL's server programs of the major version of the dump or newer, for O(level=restore) without a server of yours
  - util-linux, as another user than root 2.36 or newer, for O(level=restore) without a server of yours
seealso:
  - module: lastgood.database.backup_facts
  - module: lastgood.database.db_backup
"""

EXAMPLES = r"""
---
- name: See that the newest backup of each database is what it was when it was made
  lastgood.database.backup_verify:
    directory: /var/lib/postgresql/backups
    newest: 1

- name: See that PostgreSQL can read all backups of one database
  lastgood.database.backup_verify:
    directory: /var/lib/postgresql/backups
    databases:
      - app
    level: structure

- name: Restore the newest backup of each database, to see that it can be done
  lastgood.database.backup_verify:
    directory: /var/lib/postgresql/backups
    newest: 1
    level: restore
  register: drill

- name: See that the newest backup of each database on an SFTP server is what was sent there
  lastgood.database.backup_verify:
    sftp:
      host: backup.example.org
      user: db7
      private_key_file: /root/.ssh/backup
      remote_directory: backups/db7
    newest: 1

- name: Show what came back
  ansible.builtin.debug:
    msg: "{{ item.database or item.kind }}: {{ item.verdict }}, {{ item.detail }}"
  loop: "{{ drill.verified }}"
  loop_control:
    label: "{{ item.filename }}"
"""

RETURN = r"""
verified:
  description: A verdict for each backup, the oldest is first.
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
      description: How deep the look was that decided, V(checksum), V(structure) or V(restore).
      type: str
    verdict:
      description: V(passed), V(failed) or V(inconclusive).
      type: str
    detail:
      description: What was found, in words.
      type: str
    tables:
      description:
        - How many tables came back. Of a partitioned table, each partition is one. Views, and tables that are elsewhere or
          virtual, are none. Null except for a V(restore) that passed.
      type: int
    rows:
      description: How many rows these tables have together. Null where RV(verified[].tables) is.
      type: int
    seconds:
      description: How long the look took. With V(restore), that includes the start of the server.
      type: float
    state:
      description: What the backup is by now, V(good), V(unverified), V(suspect) or V(corrupt).
      type: str
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
    ModuleResult,
    ModuleRunner,
    now,
    run_module,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import SELECTION_SPEC, Params, selection_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.engines import examination_options_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.login import LOGIN_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import ONE_STORE, STORE_SPEC, store_from
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import LEVELS
from ansible_collections.lastgood.database.plugins.module_utils._operations.verify import VerifyRequest, verify


def look(module: AnsibleModule, runner: ModuleRunner) -> ModuleResult:
    """Look at the backups that the module's options say."""
    params: Params = module.params
    selection = selection_from(params)
    options = examination_options_from(params, check_mode=module.check_mode)
    with contextlib.closing(store_from(params, check_mode=module.check_mode, runner=runner)) as store:
        request = VerifyRequest(store, selection, params["level"], options)
        report = verify(request, runner, now, check_mode=module.check_mode)
    values = report.values()
    if module._diff:
        values["diff"] = report.diff(store.location)
    return ModuleResult(values, [*store.warnings, *report.warnings], report.failure)


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **STORE_SPEC,
            **SELECTION_SPEC,
            **LOGIN_SPEC,
            "level": {"type": "str", "choices": list(LEVELS), "default": "checksum"},
        },
        mutually_exclusive=[ONE_STORE],
        required_one_of=[ONE_STORE],
        supports_check_mode=True,
    )
    run_module(module, lambda runner: look(module, runner))


if __name__ == "__main__":
    main()

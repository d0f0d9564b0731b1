#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_facts
short_description: List backups, and find the last good one of each database
version_added: 0.1.0
description:
  - Lists the backups in a directory, or on an SFTP server, with their sizes and times. For each database it returns their number,
    the newest good one, and the age of that one.
  - Ignores files that are not backups, unfinished backups, links and directories. It is no error if the directory does not
    exist; the list is then empty.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.facts
  - lastgood.database._attributes.actiongroup_backup
  - lastgood.database._selection
  - lastgood.database._sftp
options:
  directory:
    description:
      - Directory of the backups, as an absolute path. Exactly one of it and O(sftp) is required.
      - A symbolic link is refused. Name the directory that it leads to.
    type: path
  state:
    description:
      - List only backups in these states, see RV(ansible_facts.database_backups.files[].state).
      - Together with O(newest), lists the newest backups among these.
    type: list
    elements: str
    choices: [good, unverified, suspect, corrupt]
  sort_by:
    description: What to sort RV(ansible_facts.database_backups.files) by.
    type: str
    choices: [filename, created_at, modified_at, size]
    default: filename
  descending:
    description: Whether to sort in descending order, the largest or latest first.
    type: bool
    default: false
  page:
    description: Which page of the list to return, starting from V(1). A page after the last one is empty.
    type: int
    default: 1
  page_size:
    description:
      - How many backups a page has. V(0) puts all of them on one page.
      - The counts and RV(ansible_facts.database_backups.databases) always cover all pages.
    type: int
    default: 100
  checksum:
    description:
      - Whether to read every payload from end to end, and to report those that do not match the digest in their manifest as
        V(corrupt).
      - Without it, only the sizes are compared. The module never writes a verdict.
      - With O(newest) and without O(state), only the newest ones are read.
    type: bool
    default: false
seealso:
  - module: lastgood.database.db_backup
"""

EXAMPLES = r"""
---
- name: List the backups
  lastgood.database.backup_facts:
    directory: /var/lib/postgresql/backups

- name: Show the last good one of each database
  ansible.builtin.debug:
    msg: "{{ item.database }} {{ item.newest_good }} is {{ item.age_seconds }} seconds old"
  loop: "{{ ansible_facts['database_backups'].databases }}"
  loop_control:
    label: "{{ item.database }}"

- name: List the three largest backups of one database
  lastgood.database.backup_facts:
    directory: /var/lib/postgresql/backups
    databases:
      - app
    sort_by: size
    descending: true
    page_size: 3

- name: Read the newest backup of each database again, and check its digest
  lastgood.database.backup_facts:
    directory: /var/lib/postgresql/backups
    newest: 1
    checksum: true

- name: List the backups on the SFTP server
  lastgood.database.backup_facts:
    sftp:
      host: backup.example.org
      user: db7
      private_key_file: /etc/lastgood/id_ed25519
      remote_directory: backups/db7
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to the host's facts.
  returned: always
  type: dict
  contains:
    database_backups:
      description: The backups.
      type: dict
      contains:
        directory:
          description: The directory, one on an SFTP server as C(sftp://user@host/directory).
          type: str
          sample: /var/lib/postgresql/backups
        exists:
          description: Whether the directory exists.
          type: bool
        count:
          description: How many backups match the options, on all pages.
          type: int
        total_bytes:
          description: Size of all their payloads in bytes.
          type: int
        pages:
          description: How many pages the list has.
          type: int
        files:
          description: The backups on this page.
          type: list
          elements: dict
          contains:
            filename:
              description: Name of the payload. The manifest has the same name with V(.manifest.json) added.
              type: str
              sample: backup_app_2026-01-31_01-00-00.dump.gz
            path:
              description: Path of the payload.
              type: str
              sample: /var/lib/postgresql/backups/backup_app_2026-01-31_01-00-00.dump.gz
            manifest:
              description: Name of the manifest. Null if the backup has none, or if it could not be read as one.
              type: str
              sample: backup_app_2026-01-31_01-00-00.dump.gz.manifest.json
            kind:
              description: V(database), or V(globals) for a cluster's roles and tablespaces.
              type: str
              sample: database
            origin:
              description:
                - The host of which it is.
                - Null, like engine, instance, format and payload_sha256, where no manifest says it.
              type: str
              sample: db7
            engine:
              description: The kind of database.
              type: str
              sample: postgresql
            instance:
              description: The server's own identifier, or the real path of an SQLite file.
              type: str
              sample: '7300000000000000000'
            source:
              description:
                - Where the instance was reached when the backup was made, the server's socket, or its address and port, or the
                  SQLite file. Null where no manifest says it.
              type: str
              sample: /var/run/postgresql:5432
            database:
              description: Name of the database. Null for globals.
              type: str
              sample: app
            partial:
              description: Whether arguments of C(pg_dump) left a part of the database out. Such backups are a group of their own.
              type: bool
            partial_arguments:
              description: The arguments that left it out. Empty for a whole backup.
              type: list
              elements: str
            format:
              description: V(custom) or V(plain).
              type: str
              sample: custom
            compression:
              description: V(gzip), V(zstd) or V(none).
              type: str
              sample: gzip
            encrypted:
              description: Whether the payload is encrypted.
              type: bool
            recipients:
              description:
                - The ids of the keys that an encrypted payload was made for. They are public. Null if no manifest has them.
                - M(lastgood.database.backup_verify) finds out which of them an identity has, see
                  RV(lastgood.database.backup_verify#module:verified[].readable_by).
              type: list
              elements: str
            state:
              description:
                - V(good) has a manifest, the size that it says, and no verdict against it.
                - V(unverified) has no usable manifest, or one that can't be read at the moment, see
                  RV(ansible_facts.database_backups.files[].problem).
                - V(suspect) failed a verification of its structure or a restore.
                - V(corrupt) has another size or digest than its manifest says.
              type: str
              sample: good
            pinned:
              description: Whether M(lastgood.database.backup_label) pinned it, so that it is never pruned.
              type: bool
              sample: false
            labels:
              description: Its labels. Empty where it has none.
              type: dict
              sample:
                app_version: '2.10'
            created_at:
              description: The moment before the dump, in UTC.
              type: str
              sample: '2026-01-31 01:00:00'
            created_at_epoch:
              description: The same in seconds since 1970.
              type: int
              sample: 1769821200
            modified_at:
              description: When the payload was last written, in UTC.
              type: str
              sample: '2026-01-31 01:00:09'
            modified_at_epoch:
              description: The same in seconds since 1970.
              type: int
              sample: 1769821209
            confirmed_at:
              description: When the content was last known to be the database's, in UTC.
              type: str
              sample: '2026-01-31 01:00:00'
            confirmed_at_epoch:
              description: The same in seconds since 1970.
              type: int
              sample: 1769821200
            size_kb:
              description: Size of the payload in KiB, to one decimal.
              type: str
              sample: '1843.2'
            size_bytes:
              description: Size of the payload in bytes.
              type: int
              sample: 1887437
            age_seconds:
              description: Seconds since RV(ansible_facts.database_backups.files[].confirmed_at).
              type: int
              sample: 3600
            payload_sha256:
              description: SHA-256 that the payload should have.
              type: str
            position:
              description: The position in the binary log of MariaDB or MySQL that belongs to the backup. Null if not recorded.
              type: dict
              sample: {file: mariadb-bin.000042, gtid: 0-1-977, offset: 4711}
            verification:
              description: The result of the last verification. Null if the backup was never verified.
              type: dict
              contains:
                level:
                  description: V(checksum), V(structure) or V(restore).
                  type: str
                verdict:
                  description: V(passed), V(failed) or V(inconclusive).
                  type: str
                verified_at:
                  description: The time of the verification, in UTC.
                  type: str
                detail:
                  description: The result, in words.
                  type: str
            problem:
              description: Why the manifest could not be read. Null where it could be, and where there is none.
              type: str
            uploaded_at:
              description:
                - When M(lastgood.database.backup_upload) sent it from this directory, or first found it on the server, in UTC.
                - Null where that is not known, as on an SFTP server.
              type: str
              sample: '2026-01-31 01:05:00'
            uploaded_at_epoch:
              description: The same in seconds since 1970.
              type: int
        databases:
          description:
            - The backups that were asked for, summed up for each database.
            - Without O(names) and O(state), databases without a backup are listed as well if M(lastgood.database.db_backup) tried
              to back them up. One whose server was never reached has no instance; a server of which no database is known has no
              database either.
          type: list
          elements: dict
          contains:
            origin:
              description: The host of which the backups are.
              type: str
            engine:
              description: The kind of database.
              type: str
            instance:
              description: The server's own identifier, or the real path of an SQLite file.
              type: str
            source:
              description: Where the instance was reached for the last good backup, or without one for the newest.
              type: str
            kind:
              description: V(database) or V(globals).
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
            expected:
              description:
                - Whether runs of M(lastgood.database.db_backup) back it up, or try to. False for a database that was
                  dropped from its server, and for one that has only old backups, or backups of another host, in the directory.
                - True if no run is known, as on an SFTP server.
              type: bool
            count:
              description: How many backups of it are in the list.
              type: int
            states:
              description: How many of them are in each state, V(good), V(unverified), V(suspect) and V(corrupt).
              type: dict
            newest_good:
              description:
                - File name of the last good one, whether it is in the list or not. Null when there is none.
                - With O(checksum), the state of a payload that was read depends on its digest, that of others on their sizes.
              type: str
            confirmed_at:
              description: When the content of that one was last known to be the database's, in UTC. Null when there is none.
              type: str
              sample: '2026-01-31 01:00:00'
            confirmed_at_epoch:
              description: The same in seconds since 1970.
              type: int
            age_seconds:
              description: Seconds since that one was confirmed. Null when there is none.
              type: int
            bytes:
              description: Size of all of its payloads in bytes.
              type: int
            newest_good_payload_bytes:
              description: Size of the last good one's payload in bytes. Null when there is none.
              type: int
            newest_good_bytes:
              description: Size of the last good one's content before compression in bytes. Null when there is none.
              type: int
            sizes:
              description:
                - The same of its last 30 good backups that are in the list, the oldest first.
                - It is the size of the payload if the manifest lacks that of the content.
              type: list
              elements: int
            last_run:
              description:
                - How the last run of M(lastgood.database.db_backup) went for it. Null when no run is known, as on an SFTP server.
              type: dict
              contains:
                outcome:
                  description:
                    - V(created), V(unchanged), V(fresh) or V(failed), as in
                      RV(lastgood.database.db_backup#module:backups[].outcome).
                    - V(interrupted) was ended by a signal. V(running) has not ended yet. V(died) was killed, or its host went
                      down.
                  type: str
                  sample: created
                began_at:
                  description: When it began, in UTC.
                  type: str
                  sample: '2026-01-31 01:00:00'
                began_at_epoch:
                  description: The same in seconds since 1970.
                  type: int
                ended_at:
                  description: When it ended, in UTC. Null if it runs, or died.
                  type: str
                ended_at_epoch:
                  description: The same in seconds since 1970.
                  type: int
                seconds:
                  description: How long it took. Null if that is not known.
                  type: float
                content_bytes:
                  description: Size of the backup's content before compression in bytes. Null without a backup.
                  type: int
                payload_bytes:
                  description: Size of the backup's payload in bytes. Null without a backup.
                  type: int
                code:
                  description: The code of the error. Null if it did not fail.
                  type: str
                msg:
                  description: What went wrong, why, and what to do next. Null if it did not fail.
                  type: str
            last_failure:
              description: The last failure since the last success. Null when there was none.
              type: dict
              contains:
                at:
                  description: The time of the failure, in UTC. For a run that died, the time of its last known progress.
                  type: str
                at_epoch:
                  description: The same in seconds since 1970.
                  type: int
                code:
                  description: The code of the error.
                  type: str
                msg:
                  description: What went wrong, why, and what to do next.
                  type: str
            uploaded_at:
              description:
                - When M(lastgood.database.backup_upload) last sent its newest good backup, or found it on the server, in UTC.
                  Null if it never did.
              type: str
            uploaded_at_epoch:
              description: The same in seconds since 1970.
              type: int
            verified_at:
              description: When a backup of it last passed a verification of any level, in UTC. Null if none did.
              type: str
            verified_at_epoch:
              description: The same in seconds since 1970.
              type: int
            drilled_at:
              description: When a backup of it was last restored by a verification, in UTC. Null if none was.
              type: str
            drilled_at_epoch:
              description: The same in seconds since 1970.
              type: int
        last_run:
          description:
            - How the last run of M(lastgood.database.db_backup) went in the directory. Null when no run is known, as on an SFTP
              server.
          type: dict
          contains:
            outcome:
              description:
                - V(succeeded) means that each database has a backup, V(failed) that at least one has none from it.
                - V(running), V(interrupted) and V(died) are as in
                  RV(ansible_facts.database_backups.databases[].last_run.outcome).
              type: str
            failed:
              description: How many databases have no backup from it.
              type: int
            began_at:
              description: When it began, in UTC.
              type: str
            began_at_epoch:
              description: The same in seconds since 1970.
              type: int
            ended_at:
              description: When it ended, in UTC. Null if it runs, or died.
              type: str
            ended_at_epoch:
              description: The same in seconds since 1970.
              type: int
            seconds:
              description: How long it took. Null if it runs, or died.
              type: int
        running:
          description: The dumps under way.
          type: list
          elements: dict
          contains:
            origin:
              description: The host of the database.
              type: str
            engine:
              description: The kind of database.
              type: str
            instance:
              description: The server's own identifier, or the real path of an SQLite file.
              type: str
            source:
              description: Where the instance was reached.
              type: str
            kind:
              description: V(database) or V(globals).
              type: str
            database:
              description: Name of the database. Null for globals.
              type: str
            partial:
              description: Whether arguments of C(pg_dump) leave a part of the database out.
              type: bool
            partial_arguments:
              description: The arguments that leave it out. Empty for a whole backup.
              type: list
              elements: str
            began_at:
              description: When the dump began, in UTC.
              type: str
            began_at_epoch:
              description: The same in seconds since 1970.
              type: int
            updated_at:
              description: When the run last wrote how far it is, in UTC.
              type: str
            updated_at_epoch:
              description: The same in seconds since 1970.
              type: int
            read_bytes:
              description: How many bytes were read by then, before compression.
              type: int
            expected_bytes:
              description: How many the last good backup has. Null when there is none.
              type: int
error:
  description: What went wrong, for programs. Beside the code it has what the problem calls for.
  returned: failure
  type: dict
  contains:
    code:
      description: A name for what went wrong that stays the same, such as V(directory_unusable).
      type: str
"""

import contextlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import run_operation
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import SELECTION_SPEC, selection_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import ONE_STORE, STORE_SPEC, store_from
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import STATES
from ansible_collections.lastgood.database.plugins.module_utils._operations.inventory import SORT_BY, InventoryRequest, inventory
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, at_least, list_from


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[InventoryRequest]:
    """Yield the request that the module's options make."""
    with contextlib.closing(store_from(params, check_mode=context.check_mode, runner=context.runner)) as store:
        yield InventoryRequest(
            store=store,
            selection=selection_from(params),
            states=list_from(params, "state"),
            sort_by=params["sort_by"],
            descending=params["descending"],
            page=at_least(params, "page", 1),
            page_size=at_least(params, "page_size", 0),
            checksum=params["checksum"],
        )


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **STORE_SPEC,
            **SELECTION_SPEC,
            "state": {"type": "list", "elements": "str", "choices": list(STATES)},
            "sort_by": {"type": "str", "choices": list(SORT_BY), "default": "filename"},
            "descending": {"type": "bool", "default": False},
            "page": {"type": "int", "default": 1},
            "page_size": {"type": "int", "default": 100},
            "checksum": {"type": "bool", "default": False},
        },
        mutually_exclusive=[ONE_STORE],
        required_one_of=[ONE_STORE],
        supports_check_mode=True,
    )
    run_operation(module, request_from, inventory)


if __name__ == "__main__":
    main()

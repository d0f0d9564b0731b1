#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_prune
short_description: Delete the backups that no rule retains, or those that are named
version_added: 0.1.0
description:
  - Retains the backups of each database that at least one of the rules O(keep_last) to O(keep_within) selects, and deletes the
    others, the oldest first. The rules never delete the last good backup of a database.
  - With O(names), deletes exactly those backups.
  - In a O(directory), and over SFTP with O(verify_before_delete=true), the newest good backup of a database is read before others
    of it are deleted. If it no longer matches its manifest, nothing of the database is deleted, with a warning, or with
    O(names) an error.
  - The rules count good backups only, and count them for each database. Databases of the same name on different hosts, clusters
    or in different files are different databases.
  - A rule retains the newest backup of each hour, day, week, month or year that has one, up to the number of periods that it
    gives. Periods without a backup don't count. While fewer periods have a backup, the rule retains the oldest backup as well.
  - A corrupt backup is deleted when it is older than a day and a newer good one exists. It is read once more before that. If it
    matches its manifest after all, it becomes good again, with a warning. If it can't be read, it is retained.
  - If more than three suspect backups are newer than the newest good one and failed for the same reason, the rules are applied
    to them separately, and the newest three are always retained. So the backups of a database that can't be restored do not
    fill the disk when they are verified each night.
  - Other backups that are suspect, unverified or from more than an hour in the future are retained, and RV(passed_over) lists
    them.
  - Backups of an abandoned database are retained as well. A database counts as abandoned if its last backup was made or
    confirmed more than 30 days before the newest backup of any selected database, for example after a host was renamed or a
    server got a new major version. When these backups are no longer needed, delete them with O(names) or O(groups).
  - With rules, also deletes unfinished backups of ended runs that are older than a day, see RV(swept).
  - Never deletes a pinned backup, see M(lastgood.database.backup_label). It counts for no rule, so that the other backups are
    retained and deleted as if it did not exist. RV(passed_over) lists it. With O(names) it is an error, and nothing is deleted.
    In a group that O(allow_delete_last) gives up it is a warning.
  - Never deletes files that are not backups, nor links and directories, whatever their names.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup
  - lastgood.database._retention
  - lastgood.database._retention.rules
  - lastgood.database._sftp
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - The diff lists each examined file, with the reason why it stays or is deleted.
  idempotent:
    support: full
options:
  directory:
    description:
      - Directory of the backups, as an absolute path. Exactly one of it and O(sftp) is required.
      - If it does not exist, nothing is deleted.
      - A symbolic link is refused. Name the directory that it leads to.
    type: path
  databases:
    description:
      - Databases to whose backups the rules apply, by their exact names. An SQLite database is named by its file without the
        directory.
      - V(@globals) selects the roles and tablespaces of a PostgreSQL cluster.
      - By default every database. An empty list is an error. A database without a backup is a warning.
    type: list
    elements: str
  groups:
    description:
      - The only databases that may lose backups, each identified by C(origin), C(engine), C(instance), C(kind) and
        C(database), which are all required, and by C(partial_arguments) where it has them. M(lastgood.database.db_backup)
        returns such items in RV(lastgood.database.db_backup#module:backups), and M(lastgood.database.backup_facts) in
        RV(lastgood.database.backup_facts#module:ansible_facts.database_backups.databases). Other keys of an item are ignored.
      - Good backups of other databases of the same name are retained, and RV(passed_over) lists them.
      - Use it for directories that hosts or servers share. Excludes O(databases) and O(names). An empty list is an error. A
        group without a backup is a warning, except in check mode with rules, where an earlier task would have made the backup.
    type: list
    elements: dict
  retention:
    description:
      - The rules O(keep_last) to O(keep_within) and their O(timezone) in one dict, such as a variable that tasks share.
        Excludes these single options.
  names:
    description:
      - File names of the backups to delete, without a directory. Their manifests are deleted as well.
      - Excludes rules, O(databases) and O(groups). An empty list is an error.
      - If no good backup of a database would remain, nothing is deleted and the task fails, unless O(allow_delete_last=true).
    type: list
    elements: str
  allow_delete_last:
    description:
      - Whether O(names) may include the last good backup of a database.
      - With O(groups) and without a rule, every backup of these groups is deleted. This gives up a group that a renamed host or a
        major upgrade left behind. Pinned backups stay.
    type: bool
    default: false
  verify_before_delete:
    description:
      - Whether to read the newest good backup of a database, and compare its digest with its manifest's, before others of the
        database are deleted.
      - By default V(true) for a O(directory), and V(false) for SFTP, where it would be transferred over the network each time.
        Without it only the backup's size is compared. M(lastgood.database.backup_verify) reads it as well.
    type: bool
seealso:
  - module: lastgood.database.backup_facts
  - module: lastgood.database.backup_label
  - module: lastgood.database.db_backup
"""

EXAMPLES = r"""
---
- name: Keep a week of days, a month of weeks and a year of months of each database
  lastgood.database.backup_prune:
    directory: /var/lib/postgresql/backups
    keep_daily: 7
    keep_weekly: 5
    keep_monthly: 12
    timezone: Europe/Berlin

- name: Keep two days of backups of one database and of the cluster's roles
  lastgood.database.backup_prune:
    directory: /var/lib/postgresql/backups
    databases:
      - app
      - '@globals'
    keep_within: 2d

- name: Keep a week of one server's database, and all backups of databases of the same name on other servers
  lastgood.database.backup_prune:
    directory: /srv/backups
    groups:
      - origin: db7
        engine: postgresql
        instance: '7300000000000000001'
        kind: database
        database: app
    keep_daily: 7

- name: Delete one backup
  lastgood.database.backup_prune:
    directory: /var/lib/postgresql/backups
    names:
      - backup_app_2026-01-31_01-00-00.dump.gz

- name: Keep 90 days on the SFTP server
  lastgood.database.backup_prune:
    sftp:
      host: backup.example.org
      user: db7
      private_key_file: /etc/lastgood/id_ed25519
      remote_directory: backups/db7
    keep_daily: 90

- name: Give up the backups of a database that a renamed host left behind, the last good one too
  lastgood.database.backup_prune:
    directory: /var/lib/postgresql/backups
    groups:
      - origin: db-old
        engine: postgresql
        instance: '7300000000000000001'
        kind: database
        database: app
    allow_delete_last: true
"""

RETURN = r"""
deleted:
  description: The backups that were deleted, or in check mode would be. The oldest is first.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: dict
  contains: &contains
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
    state:
      description: V(good), V(unverified), V(suspect) or V(corrupt).
      type: str
    pinned:
      description: Whether it is pinned, so that it is never deleted.
      type: bool
    created_at:
      description: The moment before the dump, in UTC.
      type: str
      sample: '2026-01-31 01:00:00'
    size_bytes:
      description: Size of the payload in bytes.
      type: int
    reasons:
      description:
        - Why it is retained or deleted.
        - For a retained backup, each rule that retains it, such as V(daily). V(oldest daily) means that it is the oldest backup
          and fills a rule's count, and V(newest) that it is the last good one.
      type: list
      elements: str
      sample: [newest, last, daily]
kept:
  description:
    - The backups that rules retain. With O(names), the other backups of the same databases.
    - Empty if the task fails without C(-v), because Ansible prints the whole result of a failed task.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: dict
  contains: *contains
passed_over:
  description:
    - The retained backups to which no rule applies, such as suspect and pinned ones.
    - Empty if the task fails without C(-v).
  returned: success and failure, as soon as the plan is made
  type: list
  elements: dict
  contains: *contains
absent:
  description: The names in O(names) for which no backup exists.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
swept:
  description: Names of the other files that were deleted, partials of dead runs and manifests without a payload.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: str
not_deleted:
  description: The files that could not be deleted. The task then fails.
  returned: success and failure, as soon as the plan is made
  type: list
  elements: dict
  contains:
    filename:
      description: Name of the file.
      type: str
    msg:
      description: Why it could not be deleted.
      type: str
freed_bytes:
  description: Total size of the deleted payloads and of the files in RV(swept), in bytes.
  returned: success and failure, as soon as the plan is made
  type: int
error:
  description: What went wrong, for programs. Beside the code it has what the problem calls for.
  returned: failure
  type: dict
  contains:
    code:
      description: A name for what went wrong that stays the same, such as V(last_good_refused) or V(delete_failed).
      type: str
"""

import contextlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import run_operation
from ansible_collections.lastgood.database.plugins.module_utils._arguments.retention import (
    RULES_OR_RETENTION_SPEC,
    groups_from,
    rules_or_retention_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import ONE_STORE, STORE_SPEC, store_from
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._operations.named_deletion import Named, WholeGroups
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._operations.prune import PruneRequest, prune
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, list_from
from ansible_collections.lastgood.database.plugins.module_utils._retention import Rules


def choice_from(params: Params) -> Rules | Named | WholeGroups:
    """Return how to choose the backups to delete. Raises ArgumentInvalid if no option says it, or two contradict each other."""
    names = list_from(params, "names")
    if names is None:
        deletes_groups = params["groups"] and params["allow_delete_last"] and not _has_rules(params)
        return WholeGroups() if deletes_groups else rules_or_retention_from(params)
    for option, spec in {**RULES_OR_RETENTION_SPEC, "databases": {}, "groups": {}}.items():
        if option != "timezone" and params[option] != spec.get("default"):
            raise ArgumentInvalid(f"names and {option} don't go together.", "Delete by rules, or by names.")
    return Named(names, params["allow_delete_last"])


def _has_rules(params: Params) -> bool:
    return any(params[option] != spec.get("default") for option, spec in RULES_OR_RETENTION_SPEC.items() if option != "timezone")


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[PruneRequest]:
    """Yield the request that the module's options make."""
    choice = choice_from(params)
    with contextlib.closing(store_from(params, check_mode=context.check_mode, runner=context.runner)) as store:
        asked: bool | None = params["verify_before_delete"]
        yield PruneRequest(
            store,
            choice,
            list_from(params, "databases"),
            groups_from(params),
            reads_newest=store.capabilities.reads_cheaply if asked is None else asked,
        )


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **STORE_SPEC,
            **RULES_OR_RETENTION_SPEC,
            "databases": {"type": "list", "elements": "str"},
            "groups": {"type": "list", "elements": "dict"},
            "names": {"type": "list", "elements": "str"},
            "allow_delete_last": {"type": "bool", "default": False},
            "verify_before_delete": {"type": "bool"},
        },
        mutually_exclusive=[ONE_STORE, ("databases", "groups")],
        required_one_of=[ONE_STORE],
        supports_check_mode=True,
    )
    run_operation(module, request_from, prune)


if __name__ == "__main__":
    main()

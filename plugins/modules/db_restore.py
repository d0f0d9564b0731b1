#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: db_restore
short_description: Restore a database from a backup, beside the existing one
version_added: 0.1.0
description:
  - Restores a PostgreSQL, SQLite, MariaDB or MySQL database from a backup in a directory of the host, or straight from an
    SFTP server.
  - Reads the whole backup first, and refuses one that differs from its manifest.
  - Then restores into a new database beside the existing one. When the new database is complete, the module renames both in one
    transaction. If a restore fails, the existing database stays as it was, and the new one is removed. The next restore removes
    what a killed restore left.
  - A restore of a PostgreSQL dump runs the code in it, with the rights of O(login_user), and without a sandbox. A superuser
    can run programs on the server's host. Restore the backups of strangers as a user who owns nothing else.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup_login
  - lastgood.database._identity
  - lastgood.database._login
  - lastgood.database._progress
  - lastgood.database._sftp
attributes:
  check_mode:
    support: full
    details:
      - Check mode finds the backup, connects to the server, and checks the preconditions of the restore. It does not read the
        backup, so it detects neither a wrong digest nor missing roles, schemas or tables, and it does not run O(run_sql).
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - With O(if_exists=replace) the database is restored again each time.
options:
  directory:
    description:
      - Directory of the backups, as an absolute path. Exactly one of it and O(sftp) is required.
      - With PostgreSQL, the backup is uncompressed into an unnamed file in this directory. The directory needs space for the
        uncompressed dump, and the user must be allowed to write to it. With O(sftp), the file is in E(TMPDIR).
    type: path
  backup:
    description:
      - File name of the backup, without the directory, or V(latest).
      - V(latest) is the newest good backup of O(source_database). Where databases of that name were backed up from several hosts,
        clusters or files, it is an error that lists them, and O(origin) or O(instance) selects one.
      - A partial backup, from which arguments of C(pg_dump) excluded something, is restored only if it is given by its name,
        with a warning.
      - A warning names each newer backup that V(latest) skips, with the reason. For example, the backup is suspect or from the
        future, or its manifest can't be read.
    type: str
    default: latest
  source_database:
    description:
      - Name that the database had when it was backed up. An SQLite database is named by its file without the directory.
      - By default V(latest) selects a backup of a database with the name in O(database), and a backup given by its file name
        may be of any database.
    type: str
  origin:
    description:
      - Restore only a backup of this host, by the name that M(lastgood.database.backup_facts) shows as C(origin). The role
        P(lastgood.database.backup#role) uses the host's name in the inventory.
    type: str
  instance:
    description:
      - Restore only a backup of this PostgreSQL cluster or SQLite file.
      - Give the C(instance) or the C(source) that M(lastgood.database.backup_facts) shows, such as
        V(/var/run/postgresql:5433) or V(7300000000000000000). After a major upgrade both clusters have the same source, and only
        the instance distinguishes them.
    type: str
  restore_only:
    description:
      - Restore only these schemas and tables of a PostgreSQL archive, or these tables of a backup of MariaDB or MySQL, to a new
        database.
      - Never replaces a database. Restore to a database of another name, and copy from there what you need.
      - Restores with each table its rows, indexes, constraints, defaults, triggers, policies, grants, comments, its own sequences
        and its partitions, and also what these need, such as types, functions, extensions and schemas. A table that is needed
        but not named, such as the parent of a table that inherits, is restored without rows.
      - A foreign key, policy, rule or trigger that needs a table that is not named is not restored, and neither are large
        objects. Warnings list what is not restored, and tables without rows.
      - A plain dump, and an SQLite database, can only be restored as a whole.
      - MariaDB and MySQL have no schemas. A table is restored with its rows, indexes and triggers, without foreign keys to tables
        that are not named, and beside it all sequences, but no views, routines and events.
    type: dict
    suboptions:
      schemas:
        description: Names of schemas, of which everything is restored. For PostgreSQL only.
        type: list
        elements: str
      tables:
        description:
          - Names of tables, such as V(public.customer). A view, a materialized view, a foreign table or a sequence can be
            named as well.
          - Names are compared exactly, without quotes and patterns. A name without a schema has to be unique.
        type: list
        elements: str
  run_sql:
    description:
      - SQL to run in the restored database before it gets its name, such as to remove personal data from a copy of production.
        Either O(run_sql.statements) or O(run_sql.file) is required.
      - All of it runs in one transaction, except with MariaDB and MySQL. If a part of it fails, nothing is replaced, and the
        restored database is removed. The error has the server's message and the number of the statement, or the line of the file
        where the server reports it, but neither the SQL nor rows.
      - It runs after the restore, with all constraints and triggers in place, and before O(analyze). Names without a schema are
        found by the C(search_path) that is set for the database, by default C("$user", public).
      - PostgreSQL executes it by C(EXECUTE) of PL/pgSQL, as O(login_user) or O(session_role). Commands that begin or end a
        transaction (C(COMMIT), C(ROLLBACK), C(SAVEPOINT)), commands that can't run in one (C(VACUUM)), C(COPY) from or to the
        client, and commands of C(psql) are errors.
      - An SQLite database is changed in a copy in E(TMPDIR), which needs space for it. Commands that begin or end a transaction,
        C(ATTACH) and C(VACUUM) are errors. Pages that were free before may still have rows that the application deleted.
      - With MariaDB and MySQL it runs on the tables alone, before views, triggers, routines and events are made from the backup.
        C(DELIMITER) works as in the client. Statements that name another database or change the server, such as C(USE),
        C(CREATE USER), C(SET GLOBAL) and C(PREPARE), are errors, because nothing undoes them.
    type: dict
    suboptions:
      statements:
        description:
          - The statements, in order. An item may have several statements, separated by semicolons.
          - They are hidden in results and logs of Ansible, but the server may log them.
        type: list
        elements: str
      file:
        description:
          - Absolute path of a file on the host with the statements, in UTF-8 and of at most 16 MiB. To run a file of the
            controller, give its content to O(run_sql.statements) by the lookup P(ansible.builtin.file#lookup).
        type: path
      as_owner:
        description:
          - Whether to run it with the role of the restored database's owner (C(SET ROLE)), so that it has no other rights, and
            what it creates belongs to the owner. A statement can still return to the role of the login with C(RESET ROLE).
          - For PostgreSQL only.
        type: bool
        default: false
      timeout:
        description: How long all of it may take, such as V(2h). By default there is no limit.
        type: str
  engine:
    description: What kind of database it is.
    type: str
    choices: [postgresql, sqlite, mysql]
    default: postgresql
  database:
    description:
      - Name of the database to restore to, or absolute path of the SQLite file.
      - With PostgreSQL, the module can't replace the database that it is connected to, see O(login_db).
    type: str
    required: true
  if_exists:
    description:
      - What to do if the database exists.
      - V(fail) is an error, V(keep) leaves it as it is, and V(replace) always restores and replaces it.
    type: str
    choices: [fail, keep, replace]
    default: fail
  keep_old:
    description:
      - Whether to keep the replaced database under the name in RV(previous).
    type: bool
    default: false
  terminate_sessions:
    description:
      - Whether to end the sessions that are connected to the database when it is replaced, not for SQLite. This happens
        last, when the new database is complete and nothing else prevents the renaming.
      - By default such sessions are an error, which names them.
    type: bool
    default: false
  include_globals:
    description:
      - Whether to restore roles and tablespaces first, from the newest good backup of the globals of the same origin and cluster,
        or with MariaDB and MySQL users, roles and grants. Not for SQLite.
      - Existing roles and tablespaces are not changed. Existing roles keep their passwords, attributes and memberships. When
        the restore fails, the module removes the roles that it created.
    type: bool
    default: false
  no_owner:
    description:
      - Whether to skip owners and grants, including those of the database itself, for archives of PostgreSQL only. Everything
        then belongs to the user who restores, and everybody may connect to the database.
    type: bool
    default: false
  jobs:
    description: How many of C(pg_restore)'s jobs run side by side. Plain dumps are restored by one.
    type: int
    default: 2
  analyze:
    description:
      - Whether to collect statistics (C(ANALYZE)) in the new PostgreSQL database before it replaces the old one. A dump
        contains no statistics, and without them queries are slow until the server's autovacuum has collected them.
    type: bool
    default: true
notes:
  - The extension C(pg_cron) can only be made in the one database that the server's C(cron.database_name) names. It is restored
    when the new database has that name; where that fails, a warning says so and the old database is kept. A copy under another
    name is restored without it, with a warning. A plain dump with C(pg_cron) can't be restored.
  - A backup with the extension C(timescaledb) is restored between the calls of its functions C(timescaledb_pre_restore) and
    C(timescaledb_post_restore), by one job, if the server has the extension. Its version has to be the one that was backed up.
    A plain dump with the extension in another schema than V(public) can't be restored.
  - Timeouts and read-only transactions that are set for a role, a database or the cluster do not apply to a restore.
  - An old PostgreSQL database is dropped with its subscriptions, whose slots stay on the other server for the new one. A
    database that an earlier restore left and that the user may not drop is a warning.
  - A transaction that holds a lock on the PostgreSQL database, such as one that comments on it or grants a right on it,
    prevents its replacement. The module waits 20 seconds for such a transaction, and lets clients connect every other second.
  - What belongs to the PostgreSQL database itself, which is its encoding, locale, owner, settings, connection limit, grants,
    comment and security labels, comes from an archive. A plain dump does not contain it. It is then taken from the database
    that is replaced. If no such database exists, the server's defaults apply, and a warning says so.
  - A plain dump is run by C(psql) as SQL, in psql's restricted mode, which versions from August 2025 on have. Restore only what
    you trust, as a user who may do no more than he needs.
  - With MariaDB and MySQL, the tables are restored to a database C(<database>_restoring_<time>). Then one C(RENAME TABLE) moves
    all old tables away and all new ones in, and views, triggers, routines and events are made from the dump. RV(swap_seconds)
    is how long that took; meanwhile clients find tables without triggers. An error on the way is undone. A server of the other
    product is refused, because their dumps differ.
  - Stop the application before you restore an SQLite database. It is an error if a process has the file open. Only V(root) can
    see the processes of other users.
  - The file of an SQLite database keeps the owner, the group, the mode, the access control list and the extended attributes that
    it has. A warning names an attribute that can't be kept. A new file is V(0600) and belongs to the user who restores.
  - A symbolic link to the folder of an SQLite database is followed by V(root) only if the link and its folder belong to V(root)
    or to the owner of the folder that it leads to.
  - If the host's SQLite can't check the restored database, the database is restored with a warning. This happens if it is older
    than the application's SQLite or lacks one of its functions, or if the check takes too much memory or time. Values that
    violate a constraint of their table, such as C(NOT NULL), are a warning as well, because the original database has the same
    values.
requirements:
  - mariadb or mysql, of the server's product, for MariaDB and MySQL
  - pg_restore, and for plain dumps psql of August 2025 or later, of the server's major version, for PostgreSQL
seealso:
  - module: lastgood.database.db_backup
  - module: lastgood.database.backup_facts
"""

EXAMPLES = r"""
---
- name: Restore the latest backup under another name, to examine it
  lastgood.database.db_restore:
    directory: /var/lib/postgresql/backups
    source_database: app
    database: app_yesterday
  become: true
  become_user: postgres

- name: Replace the database by its latest backup, and keep the old one
  lastgood.database.db_restore:
    directory: /var/lib/postgresql/backups
    database: app
    if_exists: replace
    keep_old: true
    terminate_sessions: true
  become: true
  become_user: postgres

- name: Restore a certain backup on a new server, with the roles that it needs
  lastgood.database.db_restore:
    directory: /srv/backups
    backup: backup_app_2026-01-31_01-00-00.dump.gz
    database: app
    include_globals: true
    jobs: 4
  become: true
  become_user: postgres

- name: Restore two tables to a new database, to recover rows from
  lastgood.database.db_restore:
    directory: /var/lib/postgresql/backups
    source_database: app
    database: app_orders
    restore_only:
      tables:
        - public.orders
        - public.order_item
  become: true
  become_user: postgres

- name: Make a copy without personal data
  lastgood.database.db_restore:
    directory: /srv/backups
    source_database: app
    database: app_staging
    if_exists: replace
    run_sql:
      statements:
        - TRUNCATE session, audit_log
        - UPDATE customer SET name = 'Customer ' || id, email = id || '@example.org'
      timeout: 1h
  become: true
  become_user: postgres

- name: Restore straight from an SFTP server, where the host's own disk is lost
  lastgood.database.db_restore:
    sftp:
      host: backup.example.org
      user: db7
      private_key_file: /var/lib/postgresql/.ssh/backup
      remote_directory: backups/db7
    database: app
    include_globals: true
  become: true
  become_user: postgres

- name: Restore an encrypted backup, with a private key that Ansible Vault keeps on the controller
  lastgood.database.db_restore:
    directory: /var/lib/postgresql/backups
    database: app
    if_exists: replace
    identity: "{{ lookup('ansible.builtin.file', 'files/backup-identity.vault') }}"
  become: true
  become_user: postgres

- name: Restore an application's SQLite database, while the application is stopped
  lastgood.database.db_restore:
    directory: /srv/app/backups
    engine: sqlite
    database: /srv/app/app.db
    if_exists: replace
  become: true
  become_user: app
"""

RETURN = r"""
restored:
  description:
    - The backup that was restored, or in check mode would be. It has the same values as RV(ignore:database_backups.files) of
      M(lastgood.database.backup_facts), and V(target).
    - Null if the existing database was left unchanged.
  returned: success
  type: dict
  contains:
    filename:
      description: Name of the payload.
      type: str
      sample: backup_app_2026-01-31_01-00-00.dump.gz
    created_at:
      description: The moment before the dump, in UTC. The database is as it was then.
      type: str
      sample: '2026-01-31 01:00:00'
    database:
      description: Name that the database had.
      type: str
      sample: app
    partial:
      description: Whether arguments of C(pg_dump) left a part of the database out. Such backups are a group of their own.
      type: bool
    partial_arguments:
      description: The arguments that left it out. Empty for a whole backup.
      type: list
      elements: str
    target:
      description: The database that holds it now.
      type: str
      sample: app
seconds:
  description: How long the restore took.
  returned: success
  type: float
  sample: 41.27
swap_seconds:
  description:
    - How long clients could not find the database. Null if nothing was done, 0 if the database did not exist before.
  returned: success
  type: float
  sample: 0.004
previous:
  description: Name, or path, that the old database has now. Null if it was not retained.
  returned: success
  type: str
  sample: app_replaced_20260131t031500z
error:
  description: What went wrong, for programs. Beside the code it has what the problem calls for.
  returned: failure
  type: dict
  contains:
    code:
      description:
        - A name for what went wrong that stays the same, such as V(payload_corrupt), V(database_exists), V(database_in_use),
          V(database_locked), V(server_read_only),
          V(extension_unavailable), V(roles_missing) or V(run_sql_failed).
        - The code V(connection_lost) means that the connection broke during the renaming, and that the server has not answered
          since. Only in this case it is unknown which database has the name. The message says how to find out.
      type: str
    roles:
      description: The roles that are missing.
      type: list
      elements: str
      returned: for the code V(roles_missing)
    missing:
      description: What the backup does not have, such as V(table public.orders).
      type: list
      elements: str
      returned: for the code V(parts_missing)
    sqlstate:
      description: The server's code for what it refused.
      type: str
      returned: for the codes V(run_sql_failed) and V(query_failed), where the server gave one
    number:
      description: The number of an error of MariaDB or MySQL.
      type: int
      returned: for the codes V(run_sql_failed) and V(query_failed), where the server gave one
    sessions:
      description: Who is connected to the database.
      type: list
      elements: str
      returned: for the code V(database_in_use)
    prepared:
      description: The prepared transactions of the database.
      type: list
      elements: str
      returned: for the code V(database_in_use), where it has some
    holders:
      description: Who has a lock on the database.
      type: list
      elements: str
      returned: for the code V(database_locked)
    oid:
      description: The number that the restored database has on the server, whatever its name.
      type: int
      returned: for the code V(connection_lost)
"""

import contextlib
import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import (
    run_operation,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import PROGRESS_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._arguments.engines import (
    ENGINE_SPEC,
    name_in_backups,
    restore_options_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.identity import IDENTITY_SPEC, identity_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.login import LOGIN_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._arguments.restores import PARTS_SPEC, RUN_SQL_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import ONE_STORE, STORE_SPEC, store_from
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import engine_named
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._operations.restore import LATEST, RestoreRequest, restore
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params
from ansible_collections.lastgood.database.plugins.module_utils._scratch import temporary_directory
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[RestoreRequest]:
    """Yield the request that the module's options make."""
    runner = context.runner
    latest = params["backup"] == LATEST
    identity = identity_from(params)
    options = restore_options_from(params)
    with contextlib.closing(store_from(params, check_mode=context.check_mode, runner=runner)) as store:
        yield RestoreRequest(
            engine=engine_named(params["engine"]).restorer(options, runner),
            store=store,
            staging=store.staging() or LocalStore(os.path.realpath(temporary_directory())),
            backup=params["backup"],
            source_database=params["source_database"] or (name_in_backups(params) if latest else None),
            origin=params["origin"],
            instance=params["instance"],
            if_exists=params["if_exists"],
            terminate_sessions=params["terminate_sessions"],
            include_globals=params["include_globals"],
            identity=identity,
        )


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **STORE_SPEC,
            **LOGIN_SPEC,
            "backup": {"type": "str", "default": LATEST},
            "source_database": {"type": "str"},
            "origin": {"type": "str"},
            "instance": {"type": "str"},
            **PARTS_SPEC,
            **RUN_SQL_SPEC,
            **IDENTITY_SPEC,
            **ENGINE_SPEC,
            "database": {"type": "str", "required": True},
            "if_exists": {"type": "str", "choices": ["fail", "keep", "replace"], "default": "fail"},
            "keep_old": {"type": "bool", "default": False},
            "terminate_sessions": {"type": "bool", "default": False},
            "include_globals": {"type": "bool", "default": False},
            "no_owner": {"type": "bool", "default": False},
            "jobs": {"type": "int", "default": 2},
            "analyze": {"type": "bool", "default": True},
            **PROGRESS_SPEC,
        },
        mutually_exclusive=[ONE_STORE],
        required_one_of=[ONE_STORE],
        supports_check_mode=True,
    )
    run_operation(module, request_from, restore)


if __name__ == "__main__":
    main()

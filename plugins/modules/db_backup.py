#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: db_backup
short_description: Back up databases to files that are known to be whole
version_added: 0.1.0
description:
  - Dumps PostgreSQL, SQLite, MariaDB and MySQL databases into a directory of the host, one file for each database and point
    in time, with a manifest beside it that says what the file is and has the digests by which it is verified.
  - A backup gets its name only when it is whole. If a dump fails, is killed or fills the disk, every earlier backup stays as it
    was, and the unfinished file is never mistaken for a backup.
  - When a database has not changed since its last good backup, no second copy is stored. The module reads the last good backup
    again, checks its digest, and records in its manifest that it is confirmed.
  - When one database fails, the others are still backed up. The task then fails, and RV(backups) has the outcome of each.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup_login
  - lastgood.database._dump
  - lastgood.database._encryption
  - lastgood.database._files
  - lastgood.database._login
  - lastgood.database._progress
attributes:
  check_mode:
    support: full
    details:
      - Whether a database has changed is known only after dumping it. Check mode does not dump, so it reports V(changed=true)
        for every database that would be dumped. It does predict which databases O(interval) skips.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A database that has not changed gets no second backup, unless O(skip_unchanged=false).
options:
  directory:
    description:
      - Directory for the backups, as an absolute path. If it does not exist, it is created with mode V(0700).
      - A symbolic link is refused. Name the directory that it leads to.
    type: path
    required: true
  compression:
    description:
      - V(gzip) is made by the Python library isal where the host has it, which is several times as fast, else by the program
        C(pigz), else by Python's own zlib.
      - V(zstd) is made by Python from 3.14 on or by its library zstandard, else by the program C(zstd).
      - It is an error if the host has none of these. The module never falls back to another compression.
    type: str
    choices: [gzip, zstd, none]
    default: gzip
  compression_level:
    description:
      - How hard to compress. V(fast), V(balanced) and V(small) are the levels 1, 2 and 3 of isal, 1, 5 and 9 of pigz, 1, 6 and 9
        of zlib, 1, 3 and 12 of Zstandard.
    type: str
    choices: [fast, balanced, small]
    default: balanced
  interval:
    description:
      - Skip databases whose last good backup was made or confirmed less than this long ago.
      - A number and V(s), V(m), V(h), V(d) or V(w). For a nightly run use V(20h), because V(24h) skips every other night.
    type: str
  skip_unchanged:
    description:
      - Whether to skip storing a database that has not changed since its last good backup.
      - The content is compared by its digest. That is BLAKE3 if the host has the Python library blake3, else SHA-256, and always
        of the algorithm of the last good backup. If the host lacks that one, the backup is stored, and RV(backups[].reason) says
        so.
      - The digest of an encrypted backup has a key, the file C(.lastgood.key) in O(directory). If it was lost, the backup is
        stored too. So is one for other recipients than the last good backup's, even where O(interval) would skip it.
    type: bool
    default: true
  parallel_databases:
    description: How many databases to dump at the same time.
    type: int
    default: 1
  origin:
    description:
      - Name of this host in the manifests. Backups of different origins belong to different groups.
      - By default the host's own name. The role sets the host's name in the inventory. Set the same value when you run the
        module by hand in addition to the role. Otherwise these backups form a separate group.
    type: str
  extra_args:
    description:
      - Further arguments for C(pg_dump), for PostgreSQL only, each as one word with its value, such as V(--exclude-table=audit).
      - Those that would change the file, its format, the number of jobs or the connection are refused. So are those whose
        result would not be a backup of a database, such as V(--schema-only) and V(--data-only), and those that would prevent
        M(lastgood.database.db_restore) from restoring a plain dump, such as V(--clean) and V(--create).
      - A backup made with arguments that exclude something, such as schemas, tables, rows, owners or grants, is a partial
        backup. Its manifest lists these arguments. Partial backups with the same arguments form a separate group. A partial
        backup is never the last good backup of the whole database, retention deletes no other backup in favour of it, and
        V(latest) of M(lastgood.database.db_restore) never selects it.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - How long the dump of one database may take, such as V(2h), not for SQLite. By default there is no limit.
    type: str
  labels:
    description:
      - Labels for new backups, such as the version of the application, as texts by key. They are in the manifest, and
        M(lastgood.database.backup_facts) reports them.
      - A database that has not changed keeps its last good backup with the labels that it has. Labels alone make no second copy.
        Change those of an existing backup with M(lastgood.database.backup_label), which also describes what keys and values can
        be. A key whose value is null is left out.
    type: dict
    default: {}
  lock_timeout:
    description:
      - How long to wait for locks. This covers the locks on the tables of a database, the lock of a writer of an SQLite database,
        and another run that backs up a database of the same name into the same directory.
      - The module always waits up to ten minutes for the lock of the directory itself, which each run holds only briefly.
    type: str
    default: 60s
  retries:
    description:
      - How often to make the dump of a database again if a PostgreSQL standby cancels it, because it conflicts with the replay
        of what comes from the primary server. V(0) fails at once.
      - A warning says how often that happened. An error also says which settings of the standby prevent it.
    type: int
    default: 2
  wait_for_replay:
    description:
      - How long the run waits until a PostgreSQL standby has replayed what its primary server had written when the run began,
        such as V(5m). It fails if the standby takes longer, or is not connected to its primary server.
      - What the primary server has written is known to the standby from the last message that it received. A user who is not
        a member of C(pg_read_all_stats) sees only what the standby had received.
      - By default the run does not wait. On a primary server and in check mode this option has no effect.
    type: str
  shrink_warning:
    description:
      - Warn of a new backup whose content has less than this many percent of the usual size. RV(backups[].shrunk) then says how
        large it is. The backup is stored all the same, and the task does not fail.
      - The usual size is the median of the last seven good backups of the database. V(0) never warns.
    type: int
    default: 50
notes:
  - Run it as a user who may read the database, with C(become_user). For a local PostgreSQL server that is usually V(postgres).
    For an SQLite file it must be the file's owner or V(root), because another user who reads a database in WAL mode leaves
    files behind that lock out the application. V(root) opens the file with the rights of its owner only, so the owner must have
    access to it. A file of V(root)'s own is opened only where V(root) alone may write to its folder and those above. V(root)
    follows a symbolic link only if the link and its folder belong to V(root) or to the owner of the database.
  - With MariaDB and MySQL the user needs C(SELECT), C(SHOW VIEW), C(TRIGGER) and C(EVENT) on the database, and the source of its
    routines. Without one of these the dump would lack objects, so the database fails with the code V(grant_missing) and the
    C(GRANT) to run. Tables that are not transactional are named in a warning, because no snapshot covers them.
  - The dump of an SQLite database first copies the file into the directory, which needs space for the copy and the backup at
    the same time. The copy is not encrypted, and is deleted when the dump ends. To have it on no disk, let O(directory) be on a
    tmpfs, and send the backups away. All else that is written is encrypted if O(encryption) is set.
seealso:
  - module: lastgood.database.backup_facts
  - name: Backup and restore in PostgreSQL
    description: What C(pg_dump) does, and how its files are restored.
    link: https://www.postgresql.org/docs/current/backup-dump.html
"""

EXAMPLES = r"""
---
- name: Back up every database of the local PostgreSQL server, and its roles
  lastgood.database.db_backup:
    directory: /var/lib/postgresql/backups
  become: true
  become_user: postgres

- name: Back up two databases at most once in 20 hours
  lastgood.database.db_backup:
    directory: /var/lib/postgresql/backups
    databases:
      - app
      - billing
    interval: 20h
  become: true
  become_user: postgres

- name: Back up all but test databases over the network, with everything checked
  lastgood.database.db_backup:
    directory: /srv/backups
    exclude_databases:
      - test_*
    login_host: db.example.org
    login_user: backup
    login_password: "{{ vault_backup_password }}"
    ssl_mode: verify-full
    ca_cert: /etc/ssl/certs/ca-certificates.crt
    compression: zstd
    parallel_databases: 2
    lock_timeout: 5m
    timeout: 2h

- name: Back up for two people, either of whom can decrypt it
  lastgood.database.db_backup:
    directory: /var/lib/postgresql/backups
    encryption: age
    recipients:
      - age1dhtj9g0e0qnc2w8kh9cmsgdu7n38neyrx0lr3lhzrx7qlgsr7d3s03pxw3
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKfDwMymYEztW8wrT5w1Hex6bCPC1i+X6Jx2aIKfkUjs admin@example.org
  become: true
  become_user: postgres

- name: Back up before a release, and label the backup with the application's version
  lastgood.database.db_backup:
    directory: /var/lib/postgresql/backups
    databases:
      - app
    labels:
      app_version: '2.10'
  become: true
  become_user: postgres

- name: Back up every database of the local MariaDB server, and its users
  lastgood.database.db_backup:
    directory: /var/backups/mariadb
    engine: mysql
  become: true

- name: Back up an application's SQLite database as the application's user
  lastgood.database.db_backup:
    directory: /srv/app/backups
    engine: sqlite
    databases:
      - /srv/app/app.db
  become: true
  become_user: app
"""

RETURN = r"""
backups:
  description:
    - The result for each database.
    - A database with a backup has all values that RV(ignore:database_backups.files) of M(lastgood.database.backup_facts) has,
      except the time of the upload.
    - If the task fails and C(-v) is not set, only the databases that failed have all values, since Ansible prints all that a
      failed task returns. The others have their group, source, file name, size in bytes, age and outcome.
    - For a database that failed, or whose backup check mode predicts, RV(backups[].filename) and RV(backups[].path) are null,
      and state, times, sizes, digest and verification are missing.
  returned: success and failure, as soon as the databases are known
  type: list
  elements: dict
  contains:
    clock_behind:
      description:
        - How many seconds the host's clock is behind the newest backup of the database. A new backup then gets a time that is a
          second after that one's, with a warning, so that it is the newest. 0 if the clock is right.
      type: int
    outcome:
      description:
        - V(created) means a new backup, in check mode one that a run may make. V(unchanged) means that the last good backup has
          the database's present content. V(fresh) means that it is younger than O(interval). V(failed) means that this run has no
          backup of the database.
      type: str
      sample: created
    reason:
      description: The reason for the outcome.
      type: str
      sample: the last one is 1d 2s old
    shrunk:
      description: How large the content of a new backup is, if it is smaller than O(shrink_warning) allows. Null otherwise.
      type: dict
      contains:
        content_bytes:
          description: Size of the content before compression in bytes.
          type: int
        usual_bytes:
          description: The median of the last good backups before it.
          type: int
        percent:
          description: The first as a percentage of the second.
          type: int
    msg:
      description: What went wrong, why, and what to do next.
      type: str
      returned: for the outcome V(failed)
    remedy:
      description: What to do next, the end of RV(backups[].msg).
      type: str
      returned: for the outcome V(failed)
    error:
      description: The same for programs.
      type: dict
      returned: for the outcome V(failed)
      contains:
        code:
          description: A name for what went wrong that stays the same, such as V(database_missing) or V(no_space).
          type: str
    filename:
      description: Name of the payload. The manifest has the same name with V(.manifest.json) added.
      type: str
      sample: backup_app_2026-01-31_01-00-00.dump.gz
    path:
      description: Path of the payload.
      type: str
      sample: /var/lib/postgresql/backups/backup_app_2026-01-31_01-00-00.dump.gz
    manifest:
      description: Name of the manifest, which is beside the payload.
      type: str
      sample: backup_app_2026-01-31_01-00-00.dump.gz.manifest.json
    kind:
      description: V(database), or V(globals) for a cluster's roles and tablespaces.
      type: str
    origin:
      description: The host of the database.
      type: str
    engine:
      description: The kind of database.
      type: str
    instance:
      description:
        - PostgreSQL's system identifier, MariaDB's C(server_uid), MySQL's C(server_uuid), or the real path of an SQLite file.
        - If the user may not query the identifier, it is the server's host and port.
      type: str
    source:
      description: Where the instance was reached, the server's socket, or its address and port, or the SQLite file.
      type: str
    database:
      description: Name of the database. Null for globals.
      type: str
    partial:
      description: Whether arguments of C(pg_dump) left a part of the database out. Such backups are a group of their own.
      type: bool
    partial_arguments:
      description: The arguments that left a part out, see O(extra_args). Empty for a whole backup.
      type: list
      elements: str
    format:
      description: V(custom) or V(plain).
      type: str
    compression:
      description: V(gzip), V(zstd) or V(none).
      type: str
    encrypted:
      description: Whether the payload is encrypted.
      type: bool
    state:
      description: V(good), V(unverified), V(suspect) or V(corrupt).
      type: str
    pinned:
      description: Whether M(lastgood.database.backup_label) pinned it, so that it is never pruned.
      type: bool
    labels:
      description: Its labels. Empty if it has none.
      type: dict
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
    confirmed_at:
      description: When the content was last known to be the database's, in UTC.
      type: str
      sample: '2026-01-31 01:00:00'
    confirmed_at_epoch:
      description: The same in seconds since 1970.
      type: int
    size_kb:
      description: Size of the payload in KiB, to one decimal.
      type: str
      sample: '1843.2'
    size_bytes:
      description: Size of the payload in bytes.
      type: int
    age_seconds:
      description: Seconds since RV(backups[].confirmed_at).
      type: int
    payload_sha256:
      description: SHA-256 of the payload.
      type: str
    position:
      description: The position in the binary log of MariaDB or MySQL that belongs to the backup. Null if it was not recorded.
      type: dict
      contains:
        file:
          description: Name of the binary log.
          type: str
        offset:
          description: Offset in this file.
          type: int
        gtid:
          description: MariaDB's GTID position. Null for MySQL.
          type: str
    verification:
      description: The result of the last verification. Null if the backup was never verified.
      type: dict
    problem:
      description: Why the manifest could not be read. Null where it could be.
      type: str
  sample:
    - database: app
      filename: backup_app_2026-01-31_01-00-00.dump.gz
      kind: database
      outcome: created
      size_kb: '1843.2'
      state: good
error:
  description:
    - What went wrong, for programs. It has the code, and further values for some codes.
    - If several databases failed, it is the error of the first.
  returned: failure
  type: dict
  contains:
    code:
      description: A name for what went wrong that stays the same, such as V(connection_failed) or V(no_space).
      type: str
"""

import contextlib
import platform
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import (
    file_attributes,
    run_operation,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import (
    DIRECTORY_SPEC,
    FILE_SPEC,
    PROGRESS_SPEC,
    directory_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.encryption import (
    ENCRYPTION_SPEC,
    encoding_from,
    recipients_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.engines import (
    DUMP_REQUIRED_IF,
    DUMP_SPEC,
    dump_options_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.labels import labels_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.login import LOGIN_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import LEVELS
from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import codec_for
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import COMPRESSIONS
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import engine_named
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import present_labels
from ansible_collections.lastgood.database.plugins.module_utils._operations.dump import DumpRequest, dump
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._parameters import (
    Params,
    at_least,
    duration_from,
    lock_timeout_from,
    percent_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[DumpRequest]:
    """Yield the request that the module's options make."""
    runner = context.runner
    asked = {**params, "wait_for_replay": None} if context.check_mode else params  # check mode dumps nothing
    with contextlib.closing(LocalStore(directory_from(params), file_attributes(params), runner.is_stopped)) as store:
        yield DumpRequest(
            engine=engine_named(params["engine"]).dumper(dump_options_from(asked), runner),
            store=store,
            origin=params["origin"] or platform.node(),
            codec=codec_for(encoding_from(params), params["compression_level"], runner, recipients_from(params)),
            interval=duration_from(params, "interval"),
            skip_unchanged=params["skip_unchanged"],
            parallel_databases=at_least(params, "parallel_databases", 1),
            lock_timeout=lock_timeout_from(params),
            retries=at_least(params, "retries", 0),
            shrink_warning=percent_from(params, "shrink_warning"),
            labels=present_labels(labels_from(params)),
        )


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **DIRECTORY_SPEC,
            **FILE_SPEC,
            **LOGIN_SPEC,
            **DUMP_SPEC,
            **ENCRYPTION_SPEC,
            "compression": {"type": "str", "choices": list(COMPRESSIONS), "default": "gzip"},
            "compression_level": {"type": "str", "choices": list(LEVELS), "default": "balanced"},
            "interval": {"type": "str"},
            "skip_unchanged": {"type": "bool", "default": True},
            "parallel_databases": {"type": "int", "default": 1},
            "origin": {"type": "str"},
            "extra_args": {"type": "list", "elements": "str", "default": []},
            "labels": {"type": "dict", "default": {}},
            "timeout": {"type": "str"},
            "lock_timeout": {"type": "str", "default": "60s"},
            "retries": {"type": "int", "default": 2},
            "wait_for_replay": {"type": "str"},
            "shrink_warning": {"type": "int", "default": 50},
            **PROGRESS_SPEC,
        },
        required_if=DUMP_REQUIRED_IF,
        supports_check_mode=True,
    )
    run_operation(module, request_from, dump)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_check
short_description: Check whether the next backup can succeed, and report every problem with its remedy
version_added: 0.1.0
description:
  - Makes the checks that M(lastgood.database.db_backup) and M(lastgood.database.backup_upload) would make one after another,
    without a dump, and does not stop at the first problem. Each problem has a code, the cause and the remedy, such as a GRANT.
  - The checks are whether the server answers, whether the host has PostgreSQL's programs of the server's major version, whether
    each database exists and can be dumped by the user, whether the host can compress and compare, whether the user can use the
    directory and the backups in it and nobody else can, whether the last sizes fit the free space, whether the host's clock is
    right, and whether the SFTP server accepts an upload.
  - A problem with the severity V(error) would make a backup fail or lack something, and fails the task. One with the severity
    V(warning) does not.
  - Nothing is written to the host. Databases of SQLite are not opened, because opening one may recover it.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
  - lastgood.database._attributes.actiongroup_backup_login
  - lastgood.database._dump
  - lastgood.database._encryption
  - lastgood.database._login
  - lastgood.database._sftp
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state. In check mode it also writes no file to the SFTP server, not even for a moment.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - This action does not modify state.
options:
  directory:
    description:
      - Directory for the backups, as an absolute path.
      - If it does not exist, the module checks whether the user may make it.
    type: path
    required: true
  compression:
    description: How the backups are compressed.
    type: str
    choices: [gzip, zstd, none]
    default: gzip
  extra_args:
    description:
      - Further arguments for C(pg_dump), as in M(lastgood.database.db_backup).
      - If the arguments leave a part of the database out, objects that the user may not read are a warning only.
    type: list
    elements: str
    default: []
  origin:
    description: Name of this host in the manifests, which selects the backups whose sizes count. By default the host's own name.
    type: str
  sftp:
    description:
      - The server to which backups are sent, and how the host connects to it. Without it no server is checked.
      - The probe sends the same requests as M(lastgood.database.backup_upload), and leaves no file behind. Neither the directory
        nor a host key is added. If the directory does not exist, the probe uses the nearest one above it.
  controller_time:
    description:
      - The time of the controller's clock, in seconds since 1970. Without it the host's clock is not checked.
      - In a playbook it is V("{{ now(\).timestamp(\) }}"). The time that Ansible takes to reach the host counts as a difference.
    type: float
  clock_tolerance:
    description: How much the host's clock may differ from O(controller_time), such as V(5m).
    type: str
    default: 5m
seealso:
  - module: lastgood.database.db_backup
  - module: lastgood.database.sftp_check
"""

EXAMPLES = r"""
---
- name: Check whether every database of the local PostgreSQL server can be backed up
  lastgood.database.backup_check:
    directory: /var/lib/postgresql/backups
    controller_time: "{{ now().timestamp() }}"
  become: true
  become_user: postgres

- name: Check an application's SQLite database, and the server to which its backups are sent
  lastgood.database.backup_check:
    directory: /srv/app/backups
    engine: sqlite
    databases:
      - /srv/app/app.db
    sftp:
      host: backup.example.org
      user: db7
      private_key_file: /etc/lastgood/id_ed25519
      remote_directory: backups/db7
  become: true
  become_user: app
"""

RETURN = r"""
problems:
  description: What was found, errors first. An empty list if nothing was.
  returned: success and failure, as soon as the options are valid
  type: list
  elements: dict
  contains:
    check:
      description: Name of the check, one of RV(checks).
      type: str
      sample: grants
    severity:
      description: V(error) or V(warning).
      type: str
      sample: error
    code:
      description: A name for the problem that stays the same. All codes are in C(docs/errors.md).
      type: str
      sample: grant_missing
    database:
      description: Name of the database with the problem. Null if it is not one database's.
      type: str
      sample: app
    problem:
      description: What is wrong, and why.
      type: str
      sample: backup may not read public.invoice of the database app.
    remedy:
      description: What to do.
      type: str
      sample: "As a superuser in that database: GRANT pg_read_all_data TO backup;"
checks:
  description: Names of the checks that were made, in order.
  returned: success and failure, as soon as the options are valid
  type: list
  elements: str
  sample: [options, connection, programs, databases, grants, compression, encryption, directory, files, space, digest, clock]
server_version:
  description: Version of the server, or of the library SQLite. Null if it is not known.
  returned: success and failure, as soon as the options are valid
  type: str
  sample: '17.5'
programs:
  description: The programs that a run would use, with their versions.
  returned: success and failure, as soon as the options are valid
  type: list
  elements: str
  sample: [pg_dump 17.5, pg_restore 17.5, pg_dumpall 17.5]
encryptor:
  description: What would encrypt. Null if the host has nothing that could, or nothing is encrypted.
  returned: success and failure, as soon as the options are valid
  type: str
  sample: pyrage 1.4.0
compressor:
  description: What would compress. Null if the host has nothing that could.
  returned: success and failure, as soon as the options are valid
  type: str
  sample: isal 1.7.2
free_bytes:
  description: Free space for the directory. Null if it is not known.
  returned: success and failure, as soon as the options are valid
  type: int
newest_bytes:
  description: Size of the last good backups of these databases. Null if it is not known.
  returned: success and failure, as soon as the options are valid
  type: int
free_bytes_elsewhere:
  description: Free space on the SFTP server. Null if it is not known.
  returned: success and failure, as soon as the options are valid
  type: int
clock_offset_seconds:
  description: How many seconds the host's clock is ahead of O(controller_time). Negative if it is behind.
  returned: success and failure, as soon as the options are valid
  type: int
error:
  description: What went wrong, for programs. If there are several errors, it is the first one's.
  returned: failure
  type: dict
  contains:
    code:
      description: A name for what went wrong that stays the same, such as V(program_missing) or V(grant_missing).
      type: str
"""

import contextlib
import platform
import typing as t
from datetime import datetime, timezone

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import run_operation
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import DIRECTORY_SPEC, directory_from
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
from ansible_collections.lastgood.database.plugins.module_utils._arguments.login import LOGIN_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._arguments.store_sftp import SFTP_SPEC, sftp_trials
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import COMPRESSIONS
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import engine_named
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._operations.check import CheckRequest, check
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, duration_of
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

# Options of db_backup that this module does not have, since no check depends on them.
_DUMP_ONLY = {"timeout": None, "lock_timeout": "60s", "wait_for_replay": None}


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[CheckRequest]:
    """Yield the request that the module's options make."""
    engine = engine_named(params["engine"])
    options = dump_options_from({**params, **_DUMP_ONLY})
    with contextlib.closing(LocalStore(directory_from(params), is_stopped=context.is_stopped)) as store:
        yield CheckRequest(
            engine=engine.name,
            checker=engine.checker(options, context.runner),
            store=store,
            origin=params["origin"] or platform.node(),
            encoding=encoding_from(params),
            recipients=recipients_from(params),
            remotes=() if params["sftp"] is None else sftp_trials(params["sftp"], context.runner),
            controller_time=_time_from(params["controller_time"]),
            clock_tolerance=duration_of("clock_tolerance", params["clock_tolerance"]),
        )


def _time_from(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError) as error:
        raise ArgumentInvalid(f"controller_time is {seconds}, which is no time.", "Give seconds since 1970.") from error


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(
        argument_spec={
            **DIRECTORY_SPEC,
            **LOGIN_SPEC,
            **DUMP_SPEC,
            **ENCRYPTION_SPEC,
            "compression": {"type": "str", "choices": list(COMPRESSIONS), "default": "gzip"},
            "extra_args": {"type": "list", "elements": "str", "default": []},
            "origin": {"type": "str"},
            "sftp": {"type": "dict", "options": SFTP_SPEC},
            "controller_time": {"type": "float"},
            "clock_tolerance": {"type": "str", "default": "5m"},
        },
        required_if=DUMP_REQUIRED_IF,
        supports_check_mode=True,
    )
    run_operation(module, request_from, check)


if __name__ == "__main__":
    main()

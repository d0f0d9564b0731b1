# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""The options of modules, converted for PostgreSQL."""

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import (
    Params,
    at_least,
    duration_from,
    list_from,
    lock_timeout_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.login import given_login_from, login_from
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import (
    PostgresqlDumpOptions,
    PostgresqlExaminationOptions,
    PostgresqlRestoreOptions,
)

DUMP_REQUIRES: tuple[str, ...] = ()


def dump_options_from(params: Params) -> PostgresqlDumpOptions:
    timeout = duration_from(params, "timeout")
    return PostgresqlDumpOptions(
        login=login_from(params),
        databases=list_from(params, "databases"),
        exclude_databases=tuple(params["exclude_databases"]),
        include_globals=params["include_globals"],
        format=params["format"],
        bin_directory=params["bin_directory"],
        extra_args=tuple(params["extra_args"]),
        timeout=None if timeout is None else timeout.total_seconds(),
        lock_timeout=lock_timeout_from(params),
    )


def restore_options_from(params: Params) -> PostgresqlRestoreOptions:
    return PostgresqlRestoreOptions(
        login=login_from(params),
        database=params["database"],
        keep_old=params["keep_old"],
        terminate_sessions=params["terminate_sessions"],
        no_owner=params["no_owner"],
        jobs=at_least(params, "jobs", 1),
        bin_directory=params["bin_directory"],
        analyze=params["analyze"],
    )


def examination_options_from(params: Params, check_mode: bool) -> PostgresqlExaminationOptions:
    return PostgresqlExaminationOptions(params["bin_directory"], given_login_from(params), check_mode)


def name_in_backups(database: str) -> str:
    return database

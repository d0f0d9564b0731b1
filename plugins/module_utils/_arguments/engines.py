# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Options that say what is to be dumped, and how."""

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import (
    Params,
    duration_from,
    list_from,
    lock_timeout_from,
    useless_for_sqlite,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.login import login_from
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.dump import PostgresqlOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import EngineOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.dump import SqliteOptions


def engine_options_from(params: Params) -> EngineOptions:
    """Return what is to be dumped, and how. Raises ArgumentInvalid for an option that the engine has no use for."""
    return _sqlite_options(params) if params["engine"] == "sqlite" else _postgresql_options(params)


def _postgresql_options(params: Params) -> PostgresqlOptions:
    timeout = duration_from(params, "timeout")
    return PostgresqlOptions(
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


def _sqlite_options(params: Params) -> SqliteOptions:
    for option, given in (
        ("format=plain", params["format"] == "plain"),
        ("include_globals", params["include_globals"]),
        ("extra_args", params["extra_args"]),
        ("timeout", params["timeout"]),
    ):
        if given:
            raise useless_for_sqlite(option)
    return SqliteOptions(
        paths=list_from(params, "databases") or (),
        exclude=tuple(params["exclude_databases"]),
        lock_timeout=lock_timeout_from(params),
    )

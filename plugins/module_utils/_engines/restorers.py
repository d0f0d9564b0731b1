# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""What restores the databases of each engine."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.base import RestoreEngine
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.restore import (
    PostgresqlRestoreEngine,
    PostgresqlRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.restore import SqliteRestoreEngine
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

RestoreOptions = t.Union[PostgresqlRestoreOptions, SqliteRestoreEngine]


def restore_engine_for(options: RestoreOptions, runner: Runner) -> RestoreEngine:
    """Return what restores the database whose options these are."""
    if isinstance(options, PostgresqlRestoreOptions):
        return PostgresqlRestoreEngine(options, runner)
    return dataclasses.replace(options, is_stopped=runner.is_stopped)

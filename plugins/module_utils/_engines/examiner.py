# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""What examines the backups of each engine."""

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._engines.base import Examination
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.dump import PostgresqlEngine
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.examination import (
    ExaminationOptions,
    PostgresqlExamination,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.throwaway_server import ThrowawayServers
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.dump import SqliteEngine
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.examination import SqliteExamination
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class Examiner:
    """Makes the examinations of one run."""

    def __init__(self, options: ExaminationOptions, runner: Runner, clock: Clock) -> None:
        self._options = options
        self._runner = runner
        self._clock = clock
        self._servers = ThrowawayServers(runner)

    def examination_for(self, manifest: Manifest) -> Examination | None:
        """Return what examines a backup, by the words of its manifest; None where these are not known here."""
        if manifest.engine == PostgresqlEngine.name:
            return PostgresqlExamination(self._options, manifest, self._runner, self._servers, self._clock)
        return SqliteExamination(self._runner.is_stopped) if manifest.engine == SqliteEngine.name else None

# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Which engines there are. Imported by name, so that the packer which ships a module finds every file."""

from __future__ import annotations

import typing as t
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.content import (
    ARCHIVE_MAGIC,
    SCRIPT_BEGINNING,
    CustomDigest,
    PlainDigest,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.examination import (
    ExaminationOptions,
    PostgresqlExamination,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.restore import (
    PostgresqlRestoreEngine,
    PostgresqlRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.throwaway_server import ThrowawayServers
from ansible_collections.lastgood.database.plugins.module_utils._engines._sqlite.examination import SqliteExamination
from ansible_collections.lastgood.database.plugins.module_utils._engines._sqlite.restore import SqliteRestoreEngine
from ansible_collections.lastgood.database.plugins.module_utils._engines.base import (
    ContentDigest,
    Engine,
    Examination,
    Format,
    RestoreEngine,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import PostgresqlEngine, PostgresqlOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite import (
    FILE_MAGIC,
    FileDigest,
    SqliteEngine,
    SqliteOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

EngineOptions = t.Union[PostgresqlOptions, SqliteOptions]
RestoreOptions = t.Union[PostgresqlRestoreOptions, SqliteRestoreEngine]


def engine_for(options: EngineOptions, runner: Runner) -> Engine:
    """Return the engine whose options these are."""
    if isinstance(options, PostgresqlOptions):
        return PostgresqlEngine(options, runner)
    return SqliteEngine(options, runner.is_stopped)


def restore_engine_for(options: RestoreOptions, runner: Runner) -> RestoreEngine:
    """Return what restores the database whose options these are."""
    return PostgresqlRestoreEngine(options, runner) if isinstance(options, PostgresqlRestoreOptions) else options


def content_digest_for(engine: str | None, form: str | None) -> ContentDigest | None:
    """Return what looks at a dump's content, by the words of its manifest; None where these are not known here."""
    digests: dict[tuple[str | None, str | None], type[ContentDigest]] = {
        (PostgresqlEngine.name, "custom"): CustomDigest,
        (PostgresqlEngine.name, "plain"): PlainDigest,
        (SqliteEngine.name, "custom"): FileDigest,
    }
    make = digests.get((engine, form))
    return None if make is None else make()


class Examiner:
    """Makes the examinations of one run. What they share, such as a server to restore into, ends with ``close``."""

    def __init__(self, options: ExaminationOptions, runner: Runner, clock: t.Callable[[], datetime]) -> None:
        self._options = options
        self._runner = runner
        self._clock = clock
        self._servers = ThrowawayServers(runner)

    def examination_for(self, manifest: Manifest) -> Examination | None:
        """Return what examines a backup, by the words of its manifest; None where these are not known here."""
        if manifest.engine == PostgresqlEngine.name:
            return PostgresqlExamination(self._options, manifest, self._runner, self._servers, self._clock)
        return SqliteExamination() if manifest.engine == SqliteEngine.name else None

    def close(self) -> None:
        self._servers.close()


def describe_content(head: bytes) -> tuple[str, Format] | None:
    """Return engine and format of a dump by how it begins; None where that is not known here."""
    if head.startswith(ARCHIVE_MAGIC):
        return PostgresqlEngine.name, "custom"
    if head.startswith(FILE_MAGIC):
        return SqliteEngine.name, "custom"
    return (PostgresqlEngine.name, "plain") if SCRIPT_BEGINNING.match(head) else None

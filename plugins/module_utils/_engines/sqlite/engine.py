"""The face of SQLite."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._digests import Hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.arguments import EngineArguments
from ansible_collections.lastgood.database.plugins.module_utils._engines.checking import Checker, SurveyChecker
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import ContentDigest, Format
from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Dumper
from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import Examiner
from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import Restorer
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.content import FILE_MAGIC, FileDigest
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import (
    SqliteDumpOptions,
    SqliteRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class SqliteEngine:
    """The engine ``sqlite``."""

    name: t.ClassVar[str] = "sqlite"
    dump_requires: t.ClassVar[tuple[str, ...]] = ("databases",)

    def arguments(self) -> EngineArguments:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite import arguments

        return arguments

    def dumper(self, options: SqliteDumpOptions, runner: Runner) -> Dumper:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.dump import SqliteDumper

        return SqliteDumper(options, runner.is_stopped)

    def checker(self, options: SqliteDumpOptions, runner: Runner) -> Checker:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.check import check_beginning

        return SurveyChecker(self.dumper(options, runner), check_beginning)

    def restorer(self, options: SqliteRestoreOptions, runner: Runner) -> Restorer:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.restore import SqliteRestorer

        return SqliteRestorer(options, runner.is_stopped)

    def examiner(self, options: None, runner: Runner, clock: Clock) -> Examiner:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.examination import SqliteExaminer

        return SqliteExaminer(runner.is_stopped)

    def content_digest(self, form: str, algorithm: Hash) -> ContentDigest | None:
        return FileDigest(algorithm) if form == "custom" else None

    def recognise(self, head: bytes) -> Format | None:
        return "custom" if head.startswith(FILE_MAGIC) else None

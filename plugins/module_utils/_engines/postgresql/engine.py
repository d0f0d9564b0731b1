"""The face of PostgreSQL."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._digests import Hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.arguments import EngineArguments
from ansible_collections.lastgood.database.plugins.module_utils._engines.checking import Checker
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import ContentDigest, Format
from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Dumper
from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import Examiner
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.content import (
    ARCHIVE_MAGIC,
    SCRIPT_BEGINNING,
    digest_for,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import (
    PostgresqlDumpOptions,
    PostgresqlExaminationOptions,
    PostgresqlRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import Restorer
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class PostgresqlEngine:
    """The engine ``postgresql``."""

    name: t.ClassVar[str] = "postgresql"
    dump_requires: t.ClassVar[tuple[str, ...]] = ()

    def arguments(self) -> EngineArguments:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import arguments

        return arguments

    def dumper(self, options: PostgresqlDumpOptions, runner: Runner) -> Dumper:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.dump import PostgresqlDumper

        return PostgresqlDumper(options, runner)

    def checker(self, options: PostgresqlDumpOptions, runner: Runner) -> Checker:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.check import PostgresqlChecker

        return PostgresqlChecker(options, runner)

    def restorer(self, options: PostgresqlRestoreOptions, runner: Runner) -> Restorer:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.restore import PostgresqlRestorer

        return PostgresqlRestorer(options, runner)

    def examiner(self, options: PostgresqlExaminationOptions, runner: Runner, clock: Clock) -> Examiner:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.examination import PostgresqlExaminer

        return PostgresqlExaminer(options, runner, clock)

    def content_digest(self, form: str, algorithm: Hash) -> ContentDigest | None:
        return digest_for(form, algorithm)

    def recognise(self, head: bytes) -> Format | None:
        if head.startswith(ARCHIVE_MAGIC):
            return "custom"
        return "plain" if SCRIPT_BEGINNING.match(head) else None

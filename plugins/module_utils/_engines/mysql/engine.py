"""The face of MariaDB and MySQL."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._digests import Hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.arguments import EngineArguments
from ansible_collections.lastgood.database.plugins.module_utils._engines.checking import Checker, SurveyChecker
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import ContentDigest, Format
from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Dumper
from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import Examiner
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.content import ScriptDigest, is_dump
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.options import (
    MysqlDumpOptions,
    MysqlExaminationOptions,
    MysqlRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import Restorer
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class MysqlEngine:
    """The engine ``mysql``."""

    name: t.ClassVar[str] = "mysql"
    dump_requires: t.ClassVar[tuple[str, ...]] = ()

    def arguments(self) -> EngineArguments:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql import arguments

        return arguments

    def dumper(self, options: MysqlDumpOptions, runner: Runner) -> Dumper:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.dump import MysqlDumper

        return MysqlDumper(options, runner)

    def checker(self, options: MysqlDumpOptions, runner: Runner) -> Checker:
        return SurveyChecker(self.dumper(options, runner))

    def restorer(self, options: MysqlRestoreOptions, runner: Runner) -> Restorer:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.restore import MysqlRestorer

        return MysqlRestorer(options, runner)

    def examiner(self, options: MysqlExaminationOptions, runner: Runner, clock: Clock) -> Examiner:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.examination import MysqlExaminer

        return MysqlExaminer(options, runner, clock)

    def content_digest(self, form: str, algorithm: Hash) -> ContentDigest | None:
        return ScriptDigest(algorithm) if form == "plain" else None

    def recognise(self, head: bytes) -> Format | None:
        return "plain" if is_dump(head) else None

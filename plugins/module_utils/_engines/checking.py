"""The part of an engine that backup_check uses: it finds the problems that a dump would have."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Dumper, Target
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, Interrupted
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import Kind

Severity = t.Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """A problem, as the error that reports it. An ``error`` makes a backup fail or be incomplete."""

    error: BackupError
    severity: Severity = "error"
    database: str | None = None


Check = tuple[str, t.Callable[[], t.Iterable[Finding]]]  # a name for the report, and the function to call


class Dumpable(t.NamedTuple):
    """A database or a cluster's globals that a run would dump: its group, and the size of the engine's own copy."""

    kind: Kind
    database: str | None
    instance: str
    partial: tuple[str, ...] = ()
    copy_bytes: int = 0


class Checker(t.Protocol):
    """Checks whether the databases that the options select can be dumped. Writes nothing."""

    def checks(self) -> t.Sequence[Check]:
        """Return the checks, in order: each uses the results of those before it, and yields nothing if they are missing.

        A BackupError that a check raises is a finding too, and the next check is called anyway.
        """

    def dumpable(self) -> t.Sequence[Dumpable]:
        """Return what a run would dump, as far as the checks know."""

    def facts(self) -> dict[str, t.Any]:
        """Return ``server_version``, None if it is not known, and the ``programs`` that the checks found."""


def _nothing_more(target: Target) -> None:
    """Accept every target of the survey."""


class SurveyChecker:
    """Checks an engine without a server by its survey. ``examine`` raises an error for a bad target."""

    def __init__(self, dumper: Dumper, examine: t.Callable[[Target], None] = _nothing_more) -> None:
        self._dumper = dumper
        self._examine = examine
        self._targets: list[Target] = []

    def checks(self) -> list[Check]:
        return [("databases", self._databases)]

    def dumpable(self) -> list[Dumpable]:
        return [Dumpable(one.kind, one.database, one.instance, one.partial, one.copy_bytes) for one in self._targets]

    def facts(self) -> dict[str, t.Any]:
        versions = [target.server_version for target in self._targets]
        return {"server_version": versions[0] if versions else None, "programs": []}

    def _databases(self) -> t.Iterator[Finding]:
        survey = self._dumper.survey()
        for missing in survey.unavailable:
            yield Finding(missing.error, database=missing.database)
        for target in survey.targets:
            try:
                self._examine(target)
            except Interrupted:
                raise
            except BackupError as error:
                yield Finding(error, database=target.database)
            else:
                self._targets.append(target)

"""The findings of verifications, and their report: each verdict in the result, each cause once in words."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, VerificationFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Level, Manifest, Verdict, cause_of
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Diff, Outcome, diff_of
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store

_CAUSES_AT_MOST = 3  # in words; the result has all verdicts


@dataclass(frozen=True)
class Finding:
    """The finding for one backup, and the manifest to record it in, None if no manifest is this backup's.

    ``doubt`` says what was wrong, if a second reading has to confirm it: two readings agree if they have the same doubt.
    ``readable_by`` has the ids of the identity's keys that open the backup, None if that is not known.
    """

    level: Level
    verdict: Verdict
    detail: str
    manifest: Manifest | None = None
    tables: int | None = None
    rows: int | None = None
    doubt: str | None = None
    readable_by: tuple[str, ...] | None = None


@dataclass(frozen=True)
class VerifiedBackup:
    """A backup before and after its verification, and the finding. In check mode ``after`` is a prediction."""

    before: Backup
    after: Backup
    finding: Finding
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether the recorded values changed. The time of the verification does not count."""
        return without_time(self.before.manifest) != without_time(self.after.manifest)

    def record(self) -> dict[str, t.Any]:
        """Return the verdict as the module returns it."""
        return {
            "filename": self.after.name.filename,
            **self.after.group.facts(),
            "source": self.after.manifest.source,
            "level": self.finding.level,
            "verdict": self.finding.verdict,
            "detail": self.finding.detail,
            "tables": self.finding.tables,
            "rows": self.finding.rows,
            "seconds": round(self.seconds, 1),
            "state": self.after.state,
            "readable_by": None if self.finding.readable_by is None else list(self.finding.readable_by),
        }


@dataclass
class Report:
    """The findings so far. ``notes`` are warnings about the whole run."""

    verified: list[VerifiedBackup] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ended_by: BackupError | None = None

    def outcome(self, store: Store) -> Outcome:
        values = {"changed": any(one.changed for one in self.verified), "verified": [one.record() for one in self.verified]}
        warnings = [*store.warnings, *self._warnings()]
        return Outcome(values, warnings, self._failure(), diff=lambda: self._diff(store.location))

    def _failure(self) -> BackupError | None:
        """Return the error of the run, None if no backup failed."""
        if self.ended_by is not None:
            return self.ended_by
        failed = [one for one in self.verified if one.finding.verdict == "failed"]
        if not failed:
            return None
        causes = _by_cause(failed)
        more = len(causes) - _CAUSES_AT_MOST
        words = causes[:_CAUSES_AT_MOST] + ([f"And {more} other causes."] if more > 0 else [])
        return VerificationFailed(
            f"{len(failed)} of {len(self.verified)} backups failed. {' '.join(words)}",
            "See verified for all of them, and back up those databases anew.",
            filenames=[one.after.name.filename for one in failed],
        )

    def _warnings(self) -> list[str]:
        inconclusive = [one for one in self.verified if one.finding.verdict == "inconclusive"]
        return [*self.notes, *self._closed(), *(f"Could not be judged: {cause}" for cause in _by_cause(inconclusive))]

    def _closed(self) -> list[str]:
        """Return a warning if the identity does not open some backups, unless their verdicts already say so."""
        closed = [one for one in self.verified if one.finding.readable_by == () and one.finding.verdict == "passed"]
        if not closed:
            return []
        others = f" and {len(closed) - 1} older" if len(closed) > 1 else ""
        return [f"The identity does not open {closed[-1].after.path}{others}."]

    def note_deleted(self, backup: Backup, *, is_named: bool) -> None:
        """Warn that a backup was deleted since it was listed, if it was selected by its name."""
        if is_named:
            self.notes.append(f"{backup.path} was deleted before it was read.")

    def _diff(self, directory: str) -> Diff:
        """Return the state and the verdict on record of each backup, before and after."""
        return diff_of(
            directory,
            [_line(one.before) for one in self.verified],
            [_line(one.after if one.changed else one.before) for one in self.verified],
        )


def _by_cause(backups: list[VerifiedBackup]) -> list[str]:
    """Return each cause once, with the newest backup that it concerns and the number of others."""
    causes: dict[str, list[VerifiedBackup]] = {}
    for one in backups:
        causes.setdefault(cause_of(one.finding.detail), []).append(one)
    found = []
    for members in causes.values():
        others = f" and {len(members) - 1} older" if len(members) > 1 else ""
        found.append(f"{members[-1].after.path}{others}: {members[-1].finding.detail}")
    return found


def without_time(manifest: Manifest) -> Manifest:
    verification = manifest.verification
    if verification is None:
        return manifest
    return manifest._replace(verification=verification._replace(verified_at=datetime.min))


def _line(backup: Backup) -> str:
    verification = backup.manifest.verification
    verdict = "never verified" if verification is None else f"{verification.level} {verification.verdict}"
    return f"{backup.name.filename}  ({backup.state}, {verdict})"

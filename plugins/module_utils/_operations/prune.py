"""Delete the backups that no rule retains, or those that are named.

plan     which backups are deleted and which stay, with reasons; which files dead runs left
         check mode ends, and so does a run that has nothing to delete
again    under the lock: the same plan from a fresh listing, since other runs may have added, deleted or verified backups
apply    the payload first, then its manifest, so that a run that is killed leaves nothing that looks like a backup
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._collector import collector_paused
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionFailed,
    DeleteFailed,
    Interrupted,
    LastGoodRefused,
    StoreError,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Clock, Group, display_time
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog, unread_warnings
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    CONTENT_DIFFERS,
    PAYLOAD_DIFFERS,
    Verification,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest_update import update_manifest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    MANIFEST_SUFFIX,
    is_archive_partial,
    manifest_name,
    parse,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.pending import partials
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection, labels_of, selector_for
from ansible_collections.lastgood.database.plugins.module_utils._metadata.soundness import is_sound
from ansible_collections.lastgood.database.plugins.module_utils._operations.named_deletion import (
    GivenUp,
    Named,
    decide_by_name,
    decide_given_up,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Diff, Outcome, diff_of
from ansible_collections.lastgood.database.plugins.module_utils._retention import (
    Decision,
    Entry,
    Rules,
    Ruling,
    decide,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store
from ansible_collections.lastgood.database.plugins.module_utils._stores.local import UNNAMED_PREFIX

_LEFTOVER_STAYS = timedelta(days=1)
_FAILURES_IN_MESSAGE = 3  # the result has all of them


@dataclass(frozen=True)
class PruneRequest:
    """What to delete from a store: the backups that rules do not retain, of all databases or some, or those that are named.

    Only backups of ``groups`` are deleted, of any group where that is None. With ``reads_newest`` the last good backup of a
    group is read before any other of the group is deleted.
    """

    store: Store
    choice: Rules | Named | GivenUp
    databases: tuple[str, ...] | None = None
    groups: frozenset[Group] | None = None
    reads_newest: bool = True

    @property
    def selection(self) -> Selection:
        """The backups to plan for. Includes other groups with the same database name, so that the report mentions them."""
        if self.groups is None:
            return Selection(databases=self.databases)
        names = (selector_for(group.kind, group.database) for group in self.groups)
        return Selection(databases=tuple(name for name in names if name is not None))


class Leftover(t.NamedTuple):
    """A file that is no backup, and will never be one."""

    filename: str
    size_bytes: int
    reason: str


@dataclass
class Plan:
    """What to delete, and what to report."""

    decision: Decision
    leftovers: list[Leftover] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def has_work(self) -> bool:
        return bool(self.decision.deleted or self.leftovers)


@dataclass
class Report:
    """What was deleted, or in check mode would be."""

    plan: Plan
    deleted: list[Ruling] = field(default_factory=list)
    swept: list[Leftover] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    ended_by: BackupError | None = None  # why the run ended before all was deleted
    unread: BackupError | None = None  # why a last good backup could not be read

    def outcome(self, store: Store) -> Outcome:
        return Outcome(
            self._values(),
            [*store.warnings, *self.warnings],
            self._failure(),
            brief={"kept": [], "passed_over": []},
            diff=lambda: self._diff(store.location),
        )

    def _failure(self) -> BackupError | None:
        """Return the error to end with, None where everything was done."""
        if self.ended_by is not None:
            return self.ended_by
        if not self.failures:
            return self.unread
        problems = list(self.failures.values())[:_FAILURES_IN_MESSAGE]
        return DeleteFailed(
            f"Files that could not be deleted: {len(self.failures)}. {' '.join(problems)}",
            "The others were; see deleted and not_deleted. The next run tries again.",
        )

    @collector_paused()
    def _values(self) -> dict[str, t.Any]:
        decision = self.plan.decision
        return {
            "changed": bool(self.deleted or self.swept),
            "deleted": [_record(ruling) for ruling in self.deleted],
            "kept": [_record(ruling) for ruling in decision.kept],
            "passed_over": [_record(ruling) for ruling in decision.passed_over],
            "absent": self.plan.absent,
            "swept": [leftover.filename for leftover in self.swept],
            "not_deleted": [{"filename": name, "msg": msg} for name, msg in self.failures.items()],
            "freed_bytes": sum(ruling.backup.size_bytes for ruling in self.deleted)
            + sum(leftover.size_bytes for leftover in self.swept),
        }

    def _diff(self, directory: str) -> Diff:
        """Return every file of the plan, before and after, each with its reason."""
        decision = self.plan.decision
        before = {ruling.backup.filename: ", ".join(ruling.reasons) for ruling in _all(decision)}
        before.update((leftover.filename, leftover.reason) for leftover in self.plan.leftovers)
        deleted = {ruling.backup.filename for ruling in self.deleted} | {leftover.filename for leftover in self.swept}
        lines = [(name, f"{name}  ({reason})") for name, reason in sorted(before.items())]
        return diff_of(directory, [line for _name, line in lines], [line for name, line in lines if name not in deleted])


def prune(request: PruneRequest, context: Context) -> Outcome:
    """Delete. Check mode writes nothing, and returns the plan."""
    return _prune(request, context).outcome(request.store)


def _prune(request: PruneRequest, context: Context) -> Report:
    store, clock, check_mode = request.store, context.clock, context.check_mode
    reader = _Reader(request)
    while True:
        plan = _plan(request, clock(), reader.sound)
        if reader.read_corrupt(plan.decision):
            continue  # those that turned out sound count as good again
        # In check mode, a backup that an earlier task would have made does not exist.
        is_preview = check_mode and isinstance(request.choice, Rules)
        warnings = [
            *_unmatched(request, plan.decision, frozenset() if is_preview else request.groups),
            *plan.warnings,
            *reader.warnings,
        ]
        if not plan.has_work:
            if reader.sound and not check_mode:
                with store.lock():
                    warnings += reader.note_sound(clock)
            return Report(plan, warnings=warnings)
        store.check()
        stays = reader.rotten_groups(plan.decision)
        if stays and isinstance(request.choice, Named):
            raise LastGoodRefused(" ".join(stays.values()), "Make a new one first, or set allow_delete_last.")
        warnings += stays.values()
        if check_mode:
            plan.decision = reader.without_doubtful(_without_groups(plan.decision, stays))
            return Report(plan, plan.decision.deleted, plan.leftovers, warnings=warnings, unread=reader.unread)
        with store.lock():
            again = _plan(request, clock(), reader.sound)
            again.decision = _without_groups(again.decision, {**_lost_groups(again.decision, plan.decision), **stays})
            if reader.has_read_all(again.decision):
                again.decision = reader.without_doubtful(again.decision)
                report = _apply(store, again, warnings, context.is_stopped)
                report.unread = reader.unread
                report.warnings += [*reader.note_rotten(clock), *reader.note_sound(clock)]
                return report
        # Another run added a newer backup: read it as well, without the lock, since others wait for that.


@collector_paused()
def _plan(request: PruneRequest, now: datetime, sound: t.Container[str]) -> Plan:
    """Plan from a fresh listing. ``sound`` has the names of backups that are recorded as corrupt, but proved sound."""
    choice = request.choice
    catalog = Catalog(request.store)
    files = catalog.files()
    unread: list[Backup] = []
    backups = _entries(catalog.select(request.selection, files), sound, unread)
    if isinstance(choice, Rules):
        decision = decide(backups, choice, now, request.groups)
        return Plan(decision, list(_leftovers(request, files, now)), warnings=unread_warnings(unread))
    if isinstance(choice, GivenUp):
        return Plan(decide_given_up(backups, request.groups or frozenset()))
    decision = decide_by_name(backups, choice, now)
    found = {ruling.backup.filename for ruling in decision.deleted}
    return Plan(decision, absent=[name for name in dict.fromkeys(choice.names) if name not in found])


def _entries(backups: t.Iterable[Backup], sound: t.Container[str], unread: list[Backup]) -> t.Iterator[Entry]:
    """Yield the entry of each backup, and collect those whose manifest can't be read in ``unread``."""
    for backup in backups:
        if backup.unread is not None:
            unread.append(backup)
        is_sound_again = backup.name.filename in sound and backup.state == "corrupt"
        yield Entry.of(_without_verdict(backup) if is_sound_again else backup)


def _without_verdict(backup: Backup) -> Backup:
    return backup._replace(manifest=backup.manifest._replace(verification=None))


def _unmatched(request: PruneRequest, decision: Decision, selected: frozenset[Group] | None) -> list[str]:
    """Return a warning for each database and group without a backup: it may be misspelled, and would never be pruned."""
    location = request.store.location
    groups = {ruling.backup.group for ruling in _all(decision)}
    databases = {selector_for(group.kind, group.database) for group in groups}
    unmatched = [f"{location} has no backup of the database {name}." for name in request.databases or () if name not in databases]
    return unmatched + sorted(
        f"{location} has no backup of {selector_for(group.kind, group.database)} with origin {group.origin}, "
        f"engine {group.engine} and instance {group.instance}."
        for group in (selected or frozenset()) - groups
    )


def _leftovers(request: PruneRequest, files: set[str], now: datetime) -> t.Iterator[Leftover]:
    """Yield what dead runs left and is older than a day: their partials, and manifests without a payload."""
    store = request.store
    databases = request.selection.databases
    labels = None if databases is None else labels_of(databases)
    dead, _alive = partials(store, files)
    found = {file: (partial, "what a dead run was writing") for file, partial in dead.items()}
    orphans = [file for file in files if file.endswith(MANIFEST_SUFFIX) and file[: -len(MANIFEST_SUFFIX)] not in files]
    for file in orphans:
        payload = parse(file[: -len(MANIFEST_SUFFIX)])
        if payload is not None and not store.taken(payload.filename):
            found[file] = payload, "a manifest without its payload"
    others = [file for file in files if is_archive_partial(file) or file.startswith(UNNAMED_PREFIX)]
    candidates: list[tuple[str, str | None, str]] = []
    candidates += [(file, payload.label, reason) for file, (payload, reason) in found.items()]
    candidates += [(file, None, "what a dead run was writing") for file in others if not store.is_held(file)]
    for file, label, reason in sorted(candidates, key=lambda candidate: candidate[0]):
        facts = store.facts(file)
        is_selected = labels is None or label in labels
        if is_selected and facts is not None and now - facts.modified_at > _LEFTOVER_STAYS:
            yield Leftover(file, facts.size_bytes, reason)


class _Reader:
    """Reads payloads before a deletion: the last good backup of each group, and those recorded as corrupt. Each once."""

    def __init__(self, request: PruneRequest) -> None:
        self.unread: StoreFailed | None = None
        self.sound: dict[str, Backup] = {}  # by file name: recorded as corrupt, but proved sound
        self._store = request.store
        self._reads = request.reads_newest
        self._by_rules = isinstance(request.choice, Rules)
        self._problems: dict[str, str | None] = {}  # by file name
        self._rotten: list[Backup] = []
        self._corrupt: dict[str, str | None] = {}  # by file name: why it must not be deleted

    @property
    def warnings(self) -> list[str]:
        """Warnings about the backups that are recorded as corrupt and stay."""
        sound = [
            f"{backup.path} is recorded as corrupt, and is as its manifest says: it counts again."
            for backup in self.sound.values()
        ]
        doubts = [
            f"{self._store.path(name)} is recorded as corrupt, and stays: {doubt}."
            for name, doubt in self._corrupt.items()
            if doubt is not None and name not in self.sound
        ]
        return sound + doubts

    def read_corrupt(self, decision: Decision) -> bool:
        """Read the corrupt backups that rules delete, each once. Return whether one of them proved sound."""
        before = len(self.sound)
        for ruling in self._corrupt_in(decision):
            filename = ruling.backup.filename
            if filename not in self._corrupt:
                self._corrupt[filename] = self._doubt(filename)
        return len(self.sound) > before

    def _corrupt_in(self, decision: Decision) -> list[Ruling]:
        return [ruling for ruling in decision.deleted if self._by_rules and ruling.backup.state == "corrupt"]

    def _doubt(self, filename: str) -> str | None:
        """Return why a backup that is recorded as corrupt must not be deleted, None where it is corrupt indeed."""
        backup = Catalog(self._store).find(filename)
        if backup is None or backup.manifest.payload_bytes != backup.size_bytes:
            return None
        try:
            if not is_sound(self._store, backup):
                return None
        except StoreFailed as error:
            return f"it can't be read again ({error.problem.rstrip('.')})"
        verification = backup.manifest.verification
        if verification is not None and verification.detail == CONTENT_DIFFERS:
            return "the file is as it was written, so that only backup_verify can say more"
        self.sound[filename] = backup
        return "it is as its manifest says"

    def without_doubtful(self, decision: Decision) -> Decision:
        """Pass over each backup that is recorded as corrupt and that another reading did not prove corrupt."""
        doubtful = {
            ruling.backup.filename: f"it is recorded as corrupt, but {doubt}"
            for ruling in self._corrupt_in(decision)
            if (doubt := self._corrupt[ruling.backup.filename]) is not None
        }
        spared = [ruling for ruling in decision.deleted if ruling.backup.filename in doubtful]
        return replace(
            decision,
            deleted=[ruling for ruling in decision.deleted if ruling.backup.filename not in doubtful],
            passed_over=[*decision.passed_over, *(Ruling(one.backup, (doubtful[one.backup.filename],)) for one in spared)],
        )

    def note_sound(self, clock: Clock) -> list[str]:
        """Record in their manifests that backups proved sound. Hold the lock. Return a warning for each failure."""
        problems = []
        for filename, backup in self.sound.items():
            verdict = Verification(
                "checksum", "passed", clock().replace(microsecond=0), "Its SHA-256 is the one in its manifest."
            )
            try:
                current = Catalog(self._store).find(filename)
                if current is not None and current.manifest == backup.manifest:
                    data = backup.manifest._replace(verification=verdict).to_bytes()
                    self._store.replace(manifest_name(filename), data, like=filename)
            except BackupError as error:
                problems.append(f"That {backup.path} is sound could not be noted in its manifest: {error.problem}")
        return problems

    def rotten_groups(self, decision: Decision) -> dict[Group, str]:
        """Return the groups whose last good backup is bad or can't be read, with a warning for each."""
        rotten = {}
        for group, filename in self._anchors(decision):
            if filename not in self._problems:
                self._problems[filename] = self._read(filename)
            if (problem := self._problems[filename]) is not None:
                rotten[group] = f"{self._store.path(filename)} {problem}, so that nothing is deleted beside it."
        return rotten

    def has_read_all(self, decision: Decision) -> bool:
        corrupt = {ruling.backup.filename for ruling in self._corrupt_in(decision)}
        anchors = {filename for _group, filename in self._anchors(decision)}
        return self._problems.keys() >= anchors and self._corrupt.keys() >= corrupt

    def note_rotten(self, clock: Clock) -> list[str]:
        """Record in their manifests that backups are bad, so that the next run relies on others. Hold the lock.

        Return a warning for each failure, and go on: the disk may be full or the connection lost, and what was deleted must
        be reported all the same.
        """
        problems = []
        for backup in self._rotten:
            verdict = Verification("checksum", "failed", clock().replace(microsecond=0), PAYLOAD_DIFFERS)
            try:
                update_manifest(self._store, backup, verification=verdict)
            except BackupError as error:
                problems.append(f"That {backup.path} is bad could not be noted in its manifest: {error.problem}")
        return problems

    def _anchors(self, decision: Decision) -> list[tuple[Group, str]]:
        """Return the backups that must be sound before others of their group are deleted: the last good and newest suspect."""
        groups = {ruling.backup.group for ruling in decision.deleted} if self._reads else set()
        anchors = (*decision.last_good.items(), *decision.newest_suspect.items())
        return [(group, backup.filename) for group, backup in anchors if group in groups]

    def _read(self, filename: str) -> str | None:
        """Return what is wrong with a backup, None for one that was deleted meanwhile: the next plan is without it."""
        backup = Catalog(self._store).find(filename)
        try:
            if backup is None or is_sound(self._store, backup):
                return None
        except StoreFailed as error:
            self.unread = error
            return f"can't be read ({error.problem})"
        self._rotten.append(backup)
        return "is not as its manifest says any more"


def _lost_groups(decision: Decision, earlier: Decision) -> dict[Group, str]:
    """Return the groups whose last good backup was lost since the earlier plan, with the reason to delete nothing of them."""
    good = {ruling.backup.filename for ruling in (*decision.kept, *decision.deleted) if ruling.backup.state == "good"}
    lost = {group: backup.filename for group, backup in earlier.last_good.items() if backup.filename not in good}
    return {group: f"{filename} was the newest good one a moment ago, and is no longer" for group, filename in lost.items()}


def _without_groups(decision: Decision, stays: dict[Group, str]) -> Decision:
    """Pass over all backups of some groups, for the reason that ``stays`` has for each."""
    spared = [ruling for ruling in decision.deleted if ruling.backup.group in stays]
    return replace(
        decision,
        deleted=[ruling for ruling in decision.deleted if ruling.backup.group not in stays],
        passed_over=[*decision.passed_over, *(Ruling(ruling.backup, (stays[ruling.backup.group],)) for ruling in spared)],
    )


def _apply(store: Store, plan: Plan, warnings: list[str], is_stopped: t.Callable[[], bool]) -> Report:
    """Delete what is planned. A file that can't be deleted does not stop the others."""
    report = Report(plan, warnings=warnings)

    def check() -> None:
        if is_stopped():
            raise Interrupted("The run was ended before all was deleted.", "What was deleted is in deleted; run it again.")

    try:
        for ruling in plan.decision.deleted:
            check()
            _delete(store, ruling, report)
        for leftover in plan.leftovers:
            check()
            if _remove(store, leftover.filename, report):
                report.swept.append(leftover)
    except (Interrupted, ConnectionFailed) as error:
        report.ended_by = error
    return report


def _delete(store: Store, ruling: Ruling, report: Report) -> None:
    filename = ruling.backup.filename
    if _remove(store, filename, report):
        report.deleted.append(ruling)
    if filename not in report.failures:
        _remove(store, manifest_name(filename), report)


def _remove(store: Store, name: str, report: Report) -> bool:
    """Delete a file, and return whether it existed. Notes a failure in the report."""
    try:
        return store.remove(name)
    except StoreError as error:
        report.failures[name] = error.problem
        return False


def _all(decision: Decision) -> list[Ruling]:
    return [*decision.kept, *decision.deleted, *decision.passed_over]


def _record(ruling: Ruling) -> dict[str, t.Any]:
    backup = ruling.backup
    return {
        "filename": backup.filename,
        **backup.group.facts(),
        "state": backup.state,
        "created_at": display_time(backup.created_at),
        "size_bytes": backup.size_bytes,
        "reasons": list(ruling.reasons),
    }

"""Records in the directory's status file how a run of db_backup goes.

begin       the databases to dump; dead earlier runs get the outcome died
progressed  how far each dump is, and the results since, at most once a second
end         the remaining results, and the outcome of the run, also if the server could not be reached or the run was stopped

If the status can't be written, the run goes on with a warning.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import secrets
import threading
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Scope, Target, Unavailable
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, Interrupted, Unexpected
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import (
    Attempt,
    Failure,
    GroupStatus,
    Run,
    Status,
    Task,
    merged,
    without_dropped,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status_file import mark_dead_runs, update_status
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._progress import UnderWay
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

_LONGEST_WAIT = 5.0  # seconds, for the directory's lock: another run may delete much


@dataclass(frozen=True)
class Source:
    """The host and the server of the databases, and which of them the options select."""

    origin: str
    engine: str
    scope: Scope

    def group(self, database: str | None) -> Group:
        """Return the group of a database whose server could not be asked for its identifier."""
        partial = () if database is None else self.scope.partial
        return Group(self.origin, self.engine, None, "database", database, partial)

    def owns(self, group: Group, known: GroupStatus) -> bool:
        """Return whether a group of the status is on this server, and selected by the options."""
        is_of_server = (group.origin, group.engine, known.address) == (self.origin, self.engine, self.scope.address)
        return is_of_server and self.scope.covers(group.kind, group.database, group.partial)


class Began(t.NamedTuple):
    """The time when the dump of a database began: by the host's clock, and by the monotonic one."""

    at: datetime
    monotonic: float


class _Unwritten(t.NamedTuple):
    """The results that are not written yet."""

    run: Run
    groups: dict[Group, GroupStatus]
    unavailable: t.Sequence[Unavailable]


class RunRecord:
    """The record of one run. Safe to use in several threads. Writes nothing in check mode."""

    def __init__(self, store: LocalStore, source: Source, context: Context) -> None:
        self.warnings: list[str] = []
        self._store = store
        self._source = source
        self._clock = context.clock
        self._is_stopped = context.is_stopped
        self._is_off = context.check_mode
        began_at = self._clock()
        self._run = Run(secrets.token_hex(8), began_at, began_at)
        self._alive_mark = contextlib.ExitStack()
        self._is_marked = False
        self._guard = threading.Lock()
        self._news: dict[Group, GroupStatus] = {}
        self._tasks: dict[Group, Task] = {}
        self._unavailable: t.Sequence[Unavailable] = ()
        self._is_dropped: t.Callable[[Group, GroupStatus], bool] | None = None
        self._has_begun = False

    def begin(
        self, targets: t.Mapping[Group, Target], waiting: t.Collection[Group], unavailable: t.Sequence[Unavailable]
    ) -> None:
        """Record which databases the server has, which of them need a dump, and which can't be backed up."""
        if self._is_off:
            return
        address, names = self._source.scope.address, {one.database for one in unavailable}
        self._tasks = {group: Task(self._run.name) for group in waiting}
        self._news = {
            group: GroupStatus(target.source, address, task=self._tasks.get(group)) for group, target in targets.items()
        }
        self._unavailable = unavailable
        if self._source.scope.databases is None:
            self._is_dropped = lambda group, known: (
                self._source.owns(group, known) and group not in targets and group.database not in names
            )
        self._run = self._run._replace(failed=len(unavailable))
        self._has_begun = True
        self._write(self._begun)
        self._mark_alive()  # even if the status could not be written

    def began(self, group: Group) -> Began:
        """Record that the dump of a database begins."""
        began = Began(self._clock(), time.monotonic())
        self._change_task(group, began_at=began.at)
        return began

    def claimed(self, group: Group, partial: str, expected_bytes: int | None) -> None:
        """Record which file is being written, and how many bytes of content are expected."""
        self._change_task(group, partial=partial, expected_bytes=expected_bytes)

    def ended(self, group: Group, began: Began, outcome: str, backup: Backup | None, error: BackupError | None) -> None:
        """Record the result for a database."""
        seconds = round(time.monotonic() - began.monotonic, 1)
        attempt = _attempt(began.at, self._clock(), outcome, error)._replace(seconds=seconds)
        if backup is not None:
            attempt = attempt._replace(content_bytes=backup.manifest.content_bytes, payload_bytes=backup.size_bytes)
        with self._guard:
            self._tasks.pop(group, None)
            self._news[group] = _with_result(self._news.get(group, GroupStatus()), attempt)
            self._run = self._run._replace(failed=self._run.failed + (error is not None))

    def progressed(self, under_way: t.Sequence[UnderWay]) -> None:
        """Write how far the dumps are. If another run holds the directory's lock, the next call writes it."""
        if self._is_off or not self._has_begun:
            return
        for one in under_way:
            subject = one.subject
            group = Group(**{**{key: subject[key] for key in Group._fields}, "partial": tuple(subject["partial_arguments"])})
            self._change_task(group, read_bytes=one.done_bytes)
        with contextlib.suppress(BackupError):  # ``end`` reports a failure
            self._update(self._changed, 0.0, durable=False)

    def end(self, error: BaseException | None) -> None:
        """Record the outcome of the run, and the failure of the databases that it did not finish."""
        if self._is_off:
            return
        self._is_off = True
        failure = None if error is None else self._failure(error)
        if self._has_begun:
            self._fail_rest(failure)
        outcome = "succeeded" if failure is None else "interrupted" if _is_interrupted(failure) else "failed"
        self._run = self._run._replace(ended_at=self._clock(), outcome=outcome)
        try:
            if self._has_begun:
                self._write(self._changed)
            elif failure is not None:
                self._write(lambda status, news: self._without_survey(status, news, failure))
        finally:
            self._alive_mark.close()

    def _failure(self, error: BaseException) -> BackupError:
        """Return the error as the module reports it."""
        if isinstance(error, Interrupted) or not self._is_stopped():
            return error if isinstance(error, BackupError) else Unexpected(type(error).__name__, "db_backup")
        return Interrupted(f"The run was ended: {error}", "Run it again.")

    def _fail_rest(self, failure: BackupError | None) -> None:
        """Record the failure for the databases whose dump did not end."""
        if failure is None:
            return
        with self._guard:
            now = self._clock()
            for group, task in self._tasks.items():
                attempt = _attempt(task.began_at or self._run.began_at, now, "failed", failure)
                self._news[group] = _with_result(self._news.get(group, GroupStatus()), attempt)
            self._run = self._run._replace(failed=self._run.failed + len(self._tasks))
            self._tasks.clear()

    def _change_task(self, group: Group, **values: t.Any) -> None:
        with self._guard:
            task = self._tasks.get(group)
            if task is not None:
                self._tasks[group] = task = task._replace(**values)
                self._news[group] = self._news.get(group, GroupStatus())._replace(task=task)

    def _mark_alive(self) -> None:
        if not self._is_marked:
            self._is_marked = True
            with contextlib.suppress(BackupError):
                self._alive_mark.enter_context(self._store.bookkeeping().mark_alive())

    def _write(self, change: t.Callable[[Status, _Unwritten], Status]) -> None:
        """Write a change, and warn if that fails."""
        try:
            self._update(change, _LONGEST_WAIT, durable=True)
        except BackupError as error:
            warning = f"The status of the run could not be recorded: {error.problem} {error.remedy}"
            self.warnings = list(dict.fromkeys([*self.warnings, warning]))

    def _update(self, change: t.Callable[[Status, _Unwritten], Status], seconds: float, *, durable: bool) -> None:
        if not self._store.exists():
            return
        with self._guard:
            self._run = self._run._replace(updated_at=self._clock())
            news = _Unwritten(self._run, dict(self._news), self._unavailable)
        unusable = update_status(self._store, lambda status: change(status, news), seconds=seconds, durable=durable)
        with self._guard:
            self._news = {group: values for group, values in self._news.items() if news.groups.get(group) is not values}
            self._unavailable = ()
        if unusable is not None:
            self.warnings.append(f"The status of earlier runs is lost: {unusable.problem}")

    def _begun(self, status: Status, news: _Unwritten) -> Status:
        status = mark_dead_runs(self._store, status)
        self._mark_alive()  # under the lock, so that no other run takes this one for dead
        if self._is_dropped is not None:
            status = without_dropped(status, self._is_dropped)
        return self._changed(status, news)

    def _changed(self, status: Status, news: _Unwritten) -> Status:
        groups = dict(news.groups)
        for one in news.unavailable:
            groups.update(self._failed(status, one))
        return merged(status, Status(groups, (news.run,)))

    def _failed(self, status: Status, one: Unavailable) -> dict[Group, GroupStatus]:
        """Return the failure of a database that does not exist on the server, or can't be opened."""
        known = [
            group
            for group, values in status.groups.items()
            if self._source.owns(group, values)
            and (group.kind, group.database) == ("database", one.database)
            and one.source in (None, values.source)
        ]
        return {group: self._news_of(one.error, one.source) for group in known or [self._source.group(one.database)]}

    def _without_survey(self, status: Status, news: _Unwritten, error: BackupError) -> Status:
        """Return the status after a run that could not list its server's databases: all known ones failed."""
        status = mark_dead_runs(self._store, status)
        groups = [group for group, known in status.groups.items() if self._source.owns(group, known)]
        names = {group.database for group in groups if group.kind == "database"}
        groups += [self._source.group(name) for name in self._source.scope.named() if name not in names]
        run = news.run._replace(failed=max(1, len(groups)))
        whole = {} if groups else {self._source.group(None): self._news_of(error, self._source.scope.address)}
        return merged(status, Status({**{group: self._news_of(error) for group in groups}, **whole}, (run,)))

    def _news_of(self, error: BackupError, source: str | None = None) -> GroupStatus:
        attempt = _attempt(self._run.began_at, self._run.updated_at, "failed", error)
        return _with_result(GroupStatus(source, self._source.scope.address), attempt)


def _attempt(began_at: datetime, ended_at: datetime, outcome: str, error: BackupError | None) -> Attempt:
    if error is None:
        return Attempt(outcome, began_at, ended_at)
    outcome = "interrupted" if _is_interrupted(error) else outcome
    return Attempt(outcome, began_at, ended_at, code=error.code, msg=str(error))


def _with_result(news: GroupStatus, attempt: Attempt) -> GroupStatus:
    failure = None
    if attempt.code is not None and attempt.msg is not None:
        failure = Failure(attempt.ended_at or attempt.began_at, attempt.code, attempt.msg)
    return news._replace(last_run=attempt, last_failure=failure, task=None)


def _is_interrupted(error: BackupError) -> bool:
    return error.code == Interrupted.code

"""Make a backup of each database that needs one.

survey   the engine lists the databases
plan     for each: a dump, or none if the newest good backup is fresh
apply    dump into a pending payload; confirm the newest good backup if the content is the same; else commit
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import concurrent.futures
import functools
import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import PayloadCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.threaded import threaded
from ansible_collections.lastgood.database.plugins.module_utils._digests import DigestKey, new_hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Dumper, Target
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    Interrupted,
    RecoveryConflict,
    StoreError,
    StoreFailed,
    host_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import (
    Backup,
    display_time,
    is_future,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog, unread_warnings
from ansible_collections.lastgood.database.plugins.module_utils._metadata.digest_key import digest_key
from ansible_collections.lastgood.database.plugins.module_utils._metadata.listing import Listing
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    MANIFEST_VERSION,
    PAYLOAD_DIFFERS,
    PRODUCER,
    Manifest,
    Position,
    Verification,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest_update import update_manifest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    label_for,
    parse,
    partial_name,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.pending import Pending, pending
from ansible_collections.lastgood.database.plugins.module_utils._metadata.soundness import is_sound
from ansible_collections.lastgood.database.plugins.module_utils._operations.dump_comparison import (
    KeyedDigest,
    encryption_differs,
    incomparable,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.dump_plan import Step, make_plan, warnings_of_a_clock
from ansible_collections.lastgood.database.plugins.module_utils._operations.dump_results import Result, outcome_of
from ansible_collections.lastgood.database.plugins.module_utils._operations.dump_shrinkage import with_shrinkage
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.run_record import RunRecord, Source
from ansible_collections.lastgood.database.plugins.module_utils._progress import Task
from ansible_collections.lastgood.database.plugins.module_utils._space import check_space
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import FileFacts
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore


@dataclass(frozen=True)
class DumpRequest:
    """The databases to back up, where to, and which ones to skip. ``lock_timeout`` is in seconds.

    A new backup gets the ``labels``, and a warning if its content is below ``shrink_warning`` percent of the usual size. A dump
    that a standby cancels is made again, up to ``retries`` times.
    """

    engine: Dumper
    store: LocalStore
    origin: str
    codec: PayloadCodec
    interval: timedelta | None = None
    skip_unchanged: bool = True
    parallel_databases: int = 1
    lock_timeout: float = 60.0
    retries: int = 0
    shrink_warning: int = 0  # percent
    labels: t.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Run:
    """The values that the threads of a run share. ``writing`` has the payloads that they are writing at the moment.

    Contents are digested with the ``key`` if they are encrypted.
    """

    request: DumpRequest
    context: Context
    listing: Listing
    record: RunRecord
    key: DigestKey | None
    writing: set[str] = field(default_factory=set)


def dump(request: DumpRequest, context: Context) -> Outcome:
    """Back up the databases that need it. Check mode writes nothing, and assumes that every dump would find a change."""
    source = Source(request.origin, request.engine.name, request.engine.scope())
    record = RunRecord(request.store, source, context)
    try:
        with context.progress.reporting_to(record.progressed):
            outcome = _dump(request, context, record)
    except BaseException as error:
        record.end(error)
        raise
    record.end(outcome.failure)
    return replace(outcome, warnings=[*outcome.warnings, *record.warnings])


def _dump(request: DumpRequest, context: Context, record: RunRecord) -> Outcome:
    survey = request.engine.survey()
    if context.is_stopped():  # an incomplete survey proves no database missing
        raise Interrupted("The run was ended before a dump.", "Run it again.")
    if context.check_mode:
        request.store.check()
    else:
        request.store.ensure()
    now, files = context.clock(), Catalog(request.store).files()
    differs = functools.partial(encryption_differs, codec=request.codec)
    steps = make_plan(survey.targets, Catalog(request.store), request.origin, request.interval, now, files, differs)
    lost = [
        Result("failed", {**_facts(request, None), "database": item.database}, error=item.error) for item in survey.unavailable
    ]
    targets = {step.group: step.target for step in steps}
    record.begin(targets, [step.group for step in steps if not step.fresh], survey.unavailable)
    results = [_predict(request, step) for step in steps] if context.check_mode else _apply_all(request, context, steps, record)
    results = with_shrinkage(results, Catalog(request.store), files, request.shrink_warning, context.clock())
    nothing = () if survey.targets or survey.unavailable else ("There is nothing to back up: no database is selected.",)
    ahead = warnings_of_a_clock(request.store, survey.targets, now, files)
    of_results = (warning for result in results for warning in result.warnings)
    warnings = [*survey.warnings, *nothing, *ahead, *of_results, *request.store.warnings]
    return outcome_of([*results, *lost], request.store.location, context.clock(), warnings)


def _apply_all(request: DumpRequest, context: Context, steps: list[Step], record: RunRecord) -> list[Result]:
    key = digest_key(request.store) if request.codec.encoding.encrypted and not all(step.fresh for step in steps) else None
    run = _Run(request, context, Listing(request.store), record, key)
    with concurrent.futures.ThreadPoolExecutor(request.parallel_databases) as pool:
        futures = [pool.submit(_apply_and_note, run, step) for step in steps]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fresh_result(request: DumpRequest, step: Step) -> Result:
    return Result("fresh", _facts(request, step.target), step.newest, reason=step.reason)


def _predict(request: DumpRequest, step: Step) -> Result:
    if step.fresh:
        return _fresh_result(request, step)
    return Result("created", _facts(request, step.target), reason=step.reason, clock_behind=step.clock_behind)


def _apply_and_note(run: _Run, step: Step) -> Result:
    began = run.record.began(step.group)
    result = _apply(run, step)
    run.record.ended(step.group, began, result.outcome, result.backup, result.error)
    return result


def _apply(run: _Run, step: Step) -> Result:
    """Back up a database, unless its backup is fresh."""
    request, is_stopped = run.request, run.context.is_stopped
    if step.fresh:
        return _fresh_result(request, step)
    warnings: list[str] = []
    try:
        if is_stopped():
            raise Interrupted("The run was ended before this dump began.", "Run it again.")
        with host_errors():
            return replace(_back_up_in_spite_of_conflicts(run, step, warnings), warnings=tuple(warnings))
    except BackupError as failure:
        error: BackupError = failure
        if is_stopped() and not isinstance(error, Interrupted):  # the stop caused the failure
            error = Interrupted("The run was ended in the middle of a dump.", "Run it again.")
        return Result("failed", _facts(request, step.target), error=error, reason=step.reason, warnings=tuple(warnings))


def _back_up_in_spite_of_conflicts(run: _Run, step: Step, warnings: list[str]) -> Result:
    """Back up a database, again if a standby cancels the dump."""
    retries = run.request.retries
    for failed in range(retries + 1):
        try:
            result = _back_up(run, step, warnings)
        except RecoveryConflict as error:
            if run.context.is_stopped():
                raise
            conflict = error
        else:
            if failed:
                warnings.append(f"{conflict} The dump was made again, and attempt {failed + 1} succeeded.")
            return result
    raise RecoveryConflict(
        f"{conflict.problem}{' This happened ' + str(retries + 1) + ' times.' if retries else ''}",
        f"{conflict.remedy} Or raise retries.",
        **conflict.details,
    )


def _back_up(run: _Run, step: Step, warnings: list[str]) -> Result:
    request, clock, listing = run.request, run.context.clock, run.listing
    target, store = step.target, request.store
    facts = _facts(request, target)
    label = label_for(target.kind, target.database)
    with pending(
        store,
        label,
        request.codec.encoding,
        clock,
        request.lock_timeout,
        is_stopped=run.context.is_stopped,
        writing=run.writing,
        group=step.group,
        listing=listing,
    ) as payload:
        warnings += [f"Removed what an interrupted run left: {store.path(name)}" for name in payload.swept]
        warnings += unread_warnings(payload.newest.unread)
        newest = payload.newest.good  # another run may have committed since the plan was made
        _check_room(store, target, newest)
        expected = (newest and newest.manifest.content_bytes) or target.copy_bytes or None
        run.record.claimed(step.group, partial_name(payload.filename), expected)
        with run.context.progress.task(str(target.database or target.kind), expected, facts) as task:
            content_bytes, content, position = _fill(run, target, payload, newest, task)
        difference = None if newest is None else encryption_differs(newest, request.codec)
        is_same = newest is not None and difference is None and newest.manifest.content_digest == content.digest
        same = newest if is_same else None
        corrupt: Backup | None = None
        if request.skip_unchanged and same is not None:
            try:
                corrupt = None if is_sound(store, same) else same
            except StoreFailed as error:
                warnings.append(f"{same.path} can't be read, so the database was backed up anew: {error.problem}")
            else:
                confirmed = None if corrupt else _confirm(store, listing, same, payload.created_at, position)
                if confirmed is not None:
                    reason = "its content is that of the last one"
                    return Result("unchanged", facts, confirmed, reason=reason, clock_behind=payload.clock_behind)
                # Meanwhile the backup was deleted or found bad: commit the new dump.
        manifest = _manifest(request, target, payload, position, clock()).with_content(content_bytes, *content)
        if payload.clock_behind:
            warnings.append(_warning_of_clock(target, payload))
        payload.commit(manifest)
    if corrupt is not None:
        # Only after the commit: if that had failed, the old backup would still be the best one.
        warnings += _record_corrupt(request, corrupt, clock())
    created = _stored_backup(store, payload, manifest, clock(), warnings)
    why = None if newest is None or difference is not None else incomparable(newest, content)
    reason = (difference or step.reason) + (f", and its content can't be compared: {why}" if why else "")
    return Result("created", facts, created, reason=reason, clock_behind=payload.clock_behind)


def _stored_backup(store: LocalStore, payload: Pending, manifest: Manifest, now: datetime, warnings: list[str]) -> Backup:
    """Return the backup as the store lists it after the commit. Warn if the store can't be read now: the backup is stored."""
    problem = "it does not exist any more."
    try:
        created = Catalog(store).find(payload.filename)
        if created is not None and created.unread is None:
            return created
        problem = problem if created is None or created.unread is None else created.unread.problem
    except StoreError as error:
        problem = error.problem
    path, name = store.path(payload.filename), parse(payload.filename)
    if name is None:
        raise AssertionError("a payload has the name of a backup")
    warnings.append(f"{path} was stored, but could not be read afterwards: {problem}")
    return Backup(name, path, FileFacts(payload.bytes_written, now.timestamp()), manifest)


def _warning_of_clock(target: Target, payload: Pending) -> str:
    return (
        f"The clock is {payload.clock_behind} seconds behind the newest backup of {target.title}. The new one gets the time "
        f"{display_time(payload.created_at)}, so that it is the newest: see that the clock is right."
    )


def _check_room(store: LocalStore, target: Target, newest: Backup | None) -> None:
    """Raise NoSpace if the disk has no room for a payload as large as the last one and the engine's own copy."""
    needed = (newest.size_bytes if newest is not None else 0) + target.copy_bytes
    remedy = "Make room, or back up to another directory; earlier backups are as they were."
    check_space(store.location, store.free_bytes(), needed, f"a backup of {target.title}", remedy)


def _fill(
    run: _Run, target: Target, payload: Pending, newest: Backup | None, task: Task
) -> tuple[int, KeyedDigest, Position | None]:
    """Dump into the payload. Return the content's size in bytes, its digest, and its position in the server's binary log.

    The digest is by the newest backup's algorithm if possible.
    """
    request = run.request
    algorithm = new_hash(None if newest is None else newest.manifest.content_digest, run.key)
    digest = request.engine.content_digest(target, algorithm)
    content_bytes = 0
    with request.codec.encode(payload.write) as encoder, threaded(encoder) as encoding:
        with request.engine.dumping(target, payload.make_copy_file) as content:
            while count := content.readinto(buffer := encoding.buffer()):
                if run.context.is_stopped():
                    raise Interrupted("The run was ended in the middle of a dump.", "Run it again.")
                chunk = buffer[:count]
                digest.update(chunk)
                encoding.write(chunk)
                content_bytes += count
                task.advance(count)
            position = content.finish()
        content_digest = digest.finish()
        encoding.finish()
    return content_bytes, KeyedDigest(content_digest, None if run.key is None else run.key.id), position


def _record_corrupt(request: DumpRequest, backup: Backup, now: datetime) -> list[str]:
    """Record in a backup's manifest that its payload is corrupt. Return the warnings for the user."""
    warnings = [f"{backup.path} does not match its manifest any more: the database was backed up anew."]
    try:
        with request.store.lock():
            update_manifest(request.store, backup, verification=Verification("checksum", "failed", now, PAYLOAD_DIFFERS))
    except BackupError as error:
        warnings.append(f"That could not be recorded in its manifest: {error}")
    return warnings


def _confirm(store: LocalStore, listing: Listing, backup: Backup, at: datetime, position: Position | None) -> Backup | None:
    """Record that a backup has the database's content. Return the updated backup, None if it is no longer good.

    The time never moves backwards, unless the old one is in the future. A new position replaces the old one, since servers
    delete old binary logs.
    """
    known = backup.confirmed_at
    confirmed_at = at if is_future(known, at) else max(at, known)
    with listing.locked():
        return update_manifest(
            store, backup, confirmed_at=confirmed_at, position=backup.manifest.position if position is None else position
        )


def _manifest(
    request: DumpRequest, target: Target, payload: Pending, position: Position | None, finished_at: datetime
) -> Manifest:
    """Return the manifest without the properties of the content."""
    encoding = request.codec.encoding
    return Manifest(
        manifest_version=MANIFEST_VERSION,
        producer=PRODUCER,
        kind=target.kind,
        origin=request.origin,
        engine=target.engine,
        server_version=target.server_version,
        tool=target.tool,
        major_mismatch=target.major_mismatch,
        instance=target.instance,
        database=target.database,
        source=target.source,
        partial=bool(target.partial),
        partial_arguments=target.partial or None,
        labels=request.labels or None,
        format=target.format,
        compression=encoding.compression,
        compressor=request.codec.compressor,
        encrypted=encoding.encrypted,
        encryption=encoding.encryption,
        encryptor=request.codec.encryptor,
        recipients=request.codec.recipients or None,
        created_at=payload.created_at,
        finished_at=max(finished_at, payload.created_at),
        confirmed_at=payload.created_at,
        payload_bytes=payload.bytes_written,
        payload_sha256=payload.sha256,
        position=position,
    )


def _facts(request: DumpRequest, target: Target | None) -> dict[str, t.Any]:
    """Return the known values of a database that has no backup."""
    return {
        "kind": "database" if target is None else target.kind,
        "origin": request.origin,
        "engine": request.engine.name,
        "instance": None if target is None else target.instance,
        "source": None if target is None else target.source,
        "database": None if target is None else target.database,
        "partial": target is not None and bool(target.partial),
        "partial_arguments": [] if target is None else list(target.partial),
        "format": None if target is None else target.format,
        "compression": request.codec.encoding.compression,
        "encrypted": request.codec.encoding.encrypted,
        "filename": None,
        "path": None,
    }

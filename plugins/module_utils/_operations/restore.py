"""Restore a database from a backup.

plan     which backup, whether the database exists, and whether it may be replaced
apply    read the payload to its end; if it matches its manifest, fill a new database, and swap
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import BEGINNING_BYTES, Identity, Write
from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import decoder_for
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import ENCRYPTIONS
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import content_digest_for
from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import Restorer, Swapped, TargetState
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    BackupAmbiguous,
    BackupMissing,
    DatabaseExists,
    DatabaseInUse,
    IdentityMissing,
    IdentityWrong,
    PayloadCorrupt,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group, display_time
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import (
    age_order,
    last_good_of_each,
    why_not_candidate,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection, passed_over
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Diff, Outcome, diff_of
from ansible_collections.lastgood.database.plugins.module_utils._operations.reading import read_payload
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner
from ansible_collections.lastgood.database.plugins.module_utils._space import check_space
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore, Staging

LATEST = "latest"
_OTHERS_IN_MESSAGE = 3  # backups that are named if none is good

IfExists = t.Literal["fail", "keep", "replace"]


@dataclass(frozen=True)
class RestoreRequest:
    """The backup to restore, and what to do if the database exists.

    ``staging`` is where the content is unpacked, for an engine that needs it. ``origin`` and ``instance`` select among backups
    of one database name; an instance is given by its identifier or by its source. ``identity`` opens encrypted backups.
    """

    engine: Restorer
    store: ReadableStore
    staging: Staging
    backup: str = LATEST
    source_database: str | None = None
    origin: str | None = None
    instance: str | None = None
    if_exists: IfExists = "fail"
    terminate_sessions: bool = False
    include_globals: bool = False
    identity: Identity | None = None


def restore(request: RestoreRequest, context: Context) -> Outcome:
    """Restore a backup. Check mode performs every check that does not read the payload, and changes nothing."""
    clock = context.clock
    backup, warnings = _find(request, clock())
    target = request.engine.examine_target(backup.manifest)
    if target.exists and request.if_exists == "keep":
        return _outcome(request, backup, target, clock(), warnings, changed=False)
    _check_target(request, target)
    _check_room(request, backup)
    globals_backup = _find_globals(request, backup, clock()) if request.include_globals else None
    for one in filter(None, (backup, globals_backup)):
        _check_identity(request, one, context.runner)
    warnings += _warnings_of(backup)
    if context.check_mode:
        return _outcome(request, backup, target, clock(), warnings)
    began = time.monotonic()
    title = backup.title
    progress = context.progress.task(title, backup.size_bytes)
    with progress as task, request.engine.restoring(backup.manifest, clock(), request.staging.unnamed_file) as restoration:
        if globals_backup is not None:
            _read(request, context, globals_backup, restoration.write_globals)
        _read(request, context, backup, restoration.write, task.advance)
        task.enter(f"{title} (filling)")
        restoration.fill()
        swapped = restoration.swap()
    seconds = time.monotonic() - began
    return _outcome(request, backup, target, clock(), (*warnings, *swapped.warnings), seconds=seconds, swapped=swapped)


def _outcome(
    request: RestoreRequest,
    backup: Backup,
    target: TargetState,
    now: datetime,
    warnings: tuple[str, ...],
    *,
    changed: bool = True,
    seconds: float = 0.0,
    swapped: Swapped | None = None,
) -> Outcome:
    """Return the outcome. ``swapped`` is None where nothing was restored."""
    database = request.engine.database
    values = {
        "changed": changed,
        "restored": {**backup.record(now), "target": database} if changed else None,
        "seconds": round(seconds, 3),
        "swap_seconds": None if swapped is None else round(swapped.seconds, 6),
        "previous": None if swapped is None else swapped.previous,
    }
    return Outcome(values, [*request.store.warnings, *warnings], diff=lambda: _diff(request, backup, target, changed))


def _diff(request: RestoreRequest, backup: Backup, target: TargetState, changed: bool) -> Diff:
    before = ["as it was"] if target.exists else []
    restored = [f"{backup.name.filename}, of {display_time(backup.created_at)}", *request.engine.plan] if changed else before
    return diff_of(request.engine.database, before, restored)


def _warnings_of(backup: Backup) -> tuple[str, ...]:
    partial = backup.group.partial
    if not partial:
        return ()
    return (
        f"{backup.name.filename} is a partial backup, made with {' '.join(partial)}: the restored database lacks what these "
        "arguments left out.",
    )


def _find(request: RestoreRequest, now: datetime) -> tuple[Backup, tuple[str, ...]]:
    """Return the backup to restore, and a warning if newer ones were passed over."""
    if request.backup == LATEST:
        return _find_latest(request, now)
    return _find_named(request), ()


def _find_named(request: RestoreRequest) -> Backup:
    _check_directory(request.store)
    backup = Catalog(request.store).find(request.backup)
    if backup is None:
        raise BackupMissing(
            f"There is no backup {request.backup} in {request.store.location}.",
            "Give a file name as backup_facts lists it, or latest.",
        )
    manifest = backup.manifest
    if backup.unread is not None:
        raise backup.unread
    if backup.state == "unverified":
        raise BackupMissing(
            f"{backup.path} has no manifest of its own, so that it can't be known to be complete.",
            "Put its manifest back, or have backup_verify examine it with level=structure.",
        )
    if manifest.engine != request.engine.name or backup.name.kind != "database":
        raise ArgumentInvalid(
            f"{backup.path} is of {manifest.engine}, and its kind is {backup.name.kind}.",
            f"Name the backup of a database of {request.engine.name}, or correct engine.",
        )
    if request.source_database not in (None, backup.database):
        raise ArgumentInvalid(
            f"{backup.path} is of the database {backup.database}, and source_database is {request.source_database}.",
            "Correct one of the two, or leave source_database out.",
        )
    if not _is_selected(request, backup):
        raise ArgumentInvalid(
            f"{backup.path} is of {_where_from(request, backup)}, which is not the given origin or instance.",
            "Correct origin and instance, or leave them out.",
        )
    return backup


def _find_latest(request: RestoreRequest, now: datetime) -> tuple[Backup, tuple[str, ...]]:
    database, store = request.source_database, request.store
    _check_directory(store)
    found = list(Catalog(store).select(Selection(databases=None if database is None else (database,))))
    eligible = (
        backup
        for backup in found
        if backup.name.kind == "database" and backup.manifest.engine == request.engine.name and not backup.group.partial
    )
    of_the_name = last_good_of_each(eligible, now).values()
    newest = [backup for backup in of_the_name if _is_selected(request, backup)]
    if of_the_name and not newest:
        raise BackupMissing(
            f"There is no good backup of the {request.engine.name} database {database} of the given origin or instance in "
            f"{store.location}. The newest of the others: {_listed(request, of_the_name)}.",
            "Correct origin and instance.",
        )
    if not newest:
        others = sorted((one for one in found if why_not_candidate(one, now) is not None), key=age_order)
        bad = ", ".join(f"{backup.name.filename} ({why_not_candidate(backup, now)})" for backup in others[-_OTHERS_IN_MESSAGE:])
        raise BackupMissing(
            f"There is no good backup of the {request.engine.name} database {database} in {store.location}"
            f"{': there is ' + bad if bad else ''}.",
            "List the backups with backup_facts, correct the directory or source_database, or use another copy.",
        )
    if len(newest) > 1:
        raise BackupAmbiguous(
            f"{store.location} has backups of several databases with the name {database}: {_listed(request, newest)}.",
            "Select one with origin or instance (the identifier, or the source where that differs), or give its file name in "
            f"backup; the newest is {max(newest, key=age_order).name.filename}.",
        )
    newer = passed_over(found, newest, now)
    return newest[0], (f"The newest good backup is restored, and newer ones are not: {', '.join(newer)}.",) if newer else ()


def _is_selected(request: RestoreRequest, backup: Backup) -> bool:
    """Return whether a backup has the origin and the instance that the request selects."""
    origin, instance = request.origin, request.instance
    return origin in (None, backup.group.origin) and instance in (None, backup.group.instance, backup.manifest.source)


def _listed(request: RestoreRequest, backups: t.Iterable[Backup]) -> str:
    return "; ".join(
        f"{backup.name.filename} is of {_where_from(request, backup)}" for backup in sorted(backups, key=age_order, reverse=True)
    )


def _where_from(request: RestoreRequest, backup: Backup) -> str:
    """Describe where a backup is from: first the names that people recognise, then unique ones."""
    manifest = backup.manifest
    parts = [f"origin {manifest.origin}"]
    if manifest.source not in (None, manifest.instance):
        parts.append(f"source {manifest.source}")
    parts.append(f"instance {manifest.instance}")
    server = request.engine.describe_server(manifest)
    if server is not None:
        parts.append(server)
    return ", ".join(parts)


def _check_directory(store: ReadableStore) -> None:
    if not store.exists():
        raise BackupMissing(
            f"There is no backup: the directory {store.location} does not exist.",
            "Correct directory, or remote_directory with sftp.",
        )


def _find_globals(request: RestoreRequest, backup: Backup, now: datetime) -> Backup:
    manifest = backup.manifest
    group = Group(manifest.origin, manifest.engine, manifest.instance, "globals", None)
    found = Catalog(request.store).newest_good([group], now).get(group)
    if found is None:
        raise BackupMissing(
            f"There is no good backup of the globals that go with {backup.name.filename} in {request.store.location}.",
            "Make the roles by hand, or leave include_globals out.",
        )
    return found


def _check_identity(request: RestoreRequest, backup: Backup, runner: Runner) -> None:
    """Raise IdentityMissing or IdentityWrong if the backup is encrypted and the identity does not open it."""
    encryption, recipients = backup.name.encoding.encryption, ", ".join(backup.manifest.recipients or ())
    if encryption is None:
        return
    if request.identity is None:
        raise IdentityMissing(
            f"{backup.path} is encrypted ({encryption}){recipients and ' for ' + recipients}, and no identity is given.",
            "Give the private key of one of its recipients as identity or identity_file.",
        )
    beginning = request.store.read(backup.name.filename, BEGINNING_BYTES) or b""
    if not ENCRYPTIONS[encryption].opened_by(request.identity, beginning, runner):
        raise IdentityWrong(
            f"{request.identity.name} does not open {backup.path}{recipients and ', which is encrypted for ' + recipients}.",
            "Give the identity of one of its recipients. Without a change of identities, have backup_verify read the backup: its "
            "header may be damaged.",
        )


def _check_target(request: RestoreRequest, target: TargetState) -> None:
    database = request.engine.database
    if not target.exists:
        return
    if request.if_exists == "fail":
        raise DatabaseExists(
            f"The database {database} already exists.",
            "Set if_exists=replace to replace it, and keep_old to retain the old one, or restore under another name.",
        )
    if target.prepared:
        raise DatabaseInUse(
            f"The database {database} has prepared transactions: {'; '.join(target.prepared)}.",
            "End each one by COMMIT PREPARED or ROLLBACK PREPARED; the database is as it was.",
            prepared=list(target.prepared),
        )
    if target.sessions and not request.terminate_sessions:
        raise DatabaseInUse(
            f"The database {database} is in use: {'; '.join(target.sessions)}.",
            request.engine.in_use_remedy,
            sessions=list(target.sessions),
        )


def _check_room(request: RestoreRequest, backup: Backup) -> None:
    """Raise NoSpace if the unpacked content does not fit on the disk."""
    if not request.engine.unpacks:
        return
    staging = request.staging
    check_space(
        staging.location,
        staging.free_bytes(),
        backup.manifest.content_bytes or 0,
        "the unpacked backup",
        "Make room there, or have it unpacked on a larger disk: copy the backup and its manifest there and name that "
        "directory, or with sftp set TMPDIR for the task.",
    )


def _read(
    request: RestoreRequest,
    context: Context,
    backup: Backup,
    sink: Write,
    advance: t.Callable[[int], object] = lambda count: None,
) -> None:
    """Read a payload to its end. Raises PayloadCorrupt unless it matches its manifest."""
    manifest = backup.manifest
    digest = content_digest_for(manifest)
    if digest is None:
        raise ArgumentInvalid(
            f"{backup.path} is of {manifest.engine} in the format {manifest.format}, which this version does not know.",
            "Use a newer version of this collection.",
        )
    decoding = decoder_for(backup.name.encoding, context.runner, request.identity)
    filename = backup.name.filename
    reading = read_payload(request.store, filename, decoding, digest, sink, context.is_stopped, manifest, advance)
    if not reading.payload_is(manifest):
        why = f"its SHA-256 is {reading.payload_sha256}, and its manifest says {manifest.payload_sha256}"
    elif not reading.content_is(manifest):
        why = str(reading.error or "its content is not the one that its manifest was written for")
    else:
        return
    raise PayloadCorrupt(
        f"{backup.path} was changed or damaged: {why.rstrip('.')}.", "Take an older backup, or another copy; nothing was changed."
    )

"""Put backups into one file, and verify that each matches its manifest.

The archive begins with its index. The next run compares that index with its selection, and need not read the payloads. A
change of a pin, a label, or a time of confirmation or verification makes no new archive.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import ArchiveFormat, Chunk, Member
from ansible_collections.lastgood.database.plugins.module_utils._archives.output import file_output
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupMissing,
    DestinationUnusable,
    FileMissing,
    Locked,
    NothingFound,
    PayloadCorrupt,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly
from ansible_collections.lastgood.database.plugins.module_utils._lane import lane
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, display_time
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog, unread_warnings
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import LARGEST_MANIFEST
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    archive_partial_name,
    is_archive_partial,
    is_reserved,
    manifest_name,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import (
    Selection,
    missing_error,
    missing_from,
    newest_of_each,
    passed_over,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.destination import check_destination
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Diff, Outcome, diff_of
from ansible_collections.lastgood.database.plugins.module_utils._space import check_space
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.digests import sha256_of
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

INDEX_NAME = "index.json"
INDEX_VERSION = 1

_AS_BEFORE = "The archive that was there is as it was."

Record = dict[str, t.Any]


@dataclass(frozen=True)
class ArchiveRequest:
    """The backups to put into an archive. ``folder`` is the directory of the archive, ``filename`` its name."""

    store: ReadableStore
    selection: Selection
    folder: LocalStore
    filename: str
    format: ArchiveFormat
    ignore_missing: bool = False

    @property
    def destination(self) -> str:
        return self.folder.path(self.filename)


@dataclass(frozen=True)
class Item:
    """A file for the archive, with its expected digest. ``data`` holds the content of a small file."""

    name: str
    size_bytes: int
    sha256: str
    time: datetime
    data: bytes | None = None

    @property
    def member(self) -> Member:
        return Member(self.name, self.size_bytes, self.time)

    def record(self) -> Record:
        return {"filename": self.name, "bytes": self.size_bytes, "sha256": self.sha256}


@dataclass(frozen=True)
class Plan:
    """The items of the archive, the index first, and how an existing archive differs.

    ``existing`` has the records in the index of the existing archive, None where there is no archive or its index can't be
    read. ``existing_is_whole`` says whether its size is the one that its index implies.
    """

    items: tuple[Item, ...]
    records: tuple[Record, ...]
    missing: tuple[str, ...]
    existing: tuple[Record, ...] | None
    existing_is_whole: bool
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        if self.existing is None or not self.existing_is_whole:
            return True
        return list(map(_comparable, self.existing)) != list(map(_comparable, self.records))


def archive(request: ArchiveRequest, context: Context) -> Outcome:
    """Make the archive, unless the existing one has the same backups. Check mode writes nothing."""
    _check_name(request)
    check_destination(request.folder, request.filename)
    swept = [] if context.check_mode else _sweep(request.folder)
    plan = _plan(request, context.clock())
    size, sha256 = _make(request, plan, context.check_mode)
    values = {
        "changed": plan.changed,
        "dest": request.destination,
        "members": list(plan.records),
        "missing": list(plan.missing),
        "bytes": size,
        "sha256": sha256,
    }
    warnings = [*request.store.warnings, *request.folder.warnings, *plan.warnings, *swept]
    return Outcome(values, warnings, diff=lambda: _diff(request, plan))


def _make(request: ArchiveRequest, plan: Plan, check_mode: bool) -> tuple[int, str | None]:
    """Return the archive's size and digest. In check mode, an archive that would be made has no digest."""
    size = request.format.size_bytes([item.member for item in plan.items])
    if not plan.changed:
        facts = request.folder.facts(request.filename)
        return size if facts is None else facts.size_bytes, sha256_of(request.folder, request.filename)
    request.folder.check()
    _check_room(request, size)
    return size, None if check_mode else _apply(request, plan, size)


def _diff(request: ArchiveRequest, plan: Plan) -> Diff:
    """Return the backups in the archive, before and after."""
    after = _lines(plan.records)
    return diff_of(request.destination, after if not plan.changed else _lines(plan.existing or ()), after)


def _sweep(folder: LocalStore) -> list[str]:
    """Delete the partials of archives that dead runs left in the folder, whatever their names. Return a warning for each."""
    warnings = []
    for name in filter(is_archive_partial, folder.names()):
        with contextlib.suppress(OSError):  # leave another user's file alone
            if folder.sweep(name):
                warnings.append(f"Removed what an interrupted run left: {folder.path(name)}")
    return warnings


def _check_name(request: ArchiveRequest) -> None:
    if is_reserved(request.filename):
        raise DestinationUnusable(
            f"{request.destination} has a name that could be taken for a backup's.", "Give the archive another one."
        )


def _check_room(request: ArchiveRequest, size: int) -> None:
    folder, remedy = request.folder, f"Make room, or choose fewer backups. {_AS_BEFORE}"
    check_space(folder.location, folder.free_bytes(), size, "the archive", remedy)


# --- The plan --------------------------------------------------------------------------------------


def _plan(request: ArchiveRequest, now: datetime) -> Plan:
    backups, missing, warnings = _selected(request, now)
    items: list[Item] = []
    records: list[Record] = []
    for backup in backups:
        payload, manifest = _payload_item(request.store, backup), _manifest_item(request.store, backup)
        items += [payload] if manifest is None else [payload, manifest]
        records.append(_record(backup, payload, manifest))
    index = _index(records, max(backup.created_at for backup in backups))
    existing, is_whole = _read_existing(request, 2 * index.size_bytes)
    return Plan((index, *items), tuple(records), missing, existing, is_whole, tuple(warnings))


def _selected(request: ArchiveRequest, now: datetime) -> tuple[list[Backup], tuple[str, ...], list[str]]:
    """Return the selected backups by name, the selected names and databases without a backup, and warnings."""
    selection = request.selection
    found = list(Catalog(request.store).select(selection))
    missing = tuple(missing_from(found, selection))
    warnings = unread_warnings(found)
    if selection.newest is not None:
        chosen = newest_of_each(found, selection.newest, now)
        warnings += [f"Newer, and passed over: {words}." for words in passed_over(found, chosen, now)]
        found = chosen
    if not found:
        raise NothingFound(
            f"{request.store.location} has none of the backups that were asked for.",
            f"List the backups with backup_facts. {_AS_BEFORE}",
            missing=list(missing),
        )
    if missing and not request.ignore_missing:
        raise missing_error(missing, request.store.location, f"Leave them out, or set ignore_missing. {_AS_BEFORE}")
    return sorted(found, key=lambda backup: backup.name.filename), missing, warnings


def _payload_item(store: ReadableStore, backup: Backup) -> Item:
    name, manifest = backup.name.filename, backup.manifest
    if backup.state == "corrupt":
        raise PayloadCorrupt(
            f"{backup.path} is corrupt: its size is not its manifest's, or a verification found another digest.",
            f"Leave it out, or restore it from another copy. {_AS_BEFORE}",
            filename=name,
        )
    sha256 = manifest.payload_sha256
    if backup.state == "unverified" or sha256 is None:
        sha256 = sha256_of(store, name)  # the index, which comes first, must have it
    return Item(name, backup.size_bytes, sha256, backup.created_at)


def _manifest_item(store: ReadableStore, backup: Backup) -> Item | None:
    name = manifest_name(backup.name.filename)
    data = store.read(name, LARGEST_MANIFEST + 1)
    if data is None or len(data) > LARGEST_MANIFEST:
        return None
    return Item(name, len(data), hashlib.sha256(data).hexdigest(), backup.created_at, data)


def _record(backup: Backup, payload: Item, manifest: Item | None) -> Record:
    return {
        **payload.record(),
        **backup.group.facts(),
        "state": backup.state,
        "created_at": display_time(backup.created_at),
        "manifest": None if manifest is None else manifest.record(),
    }


def _index(records: list[Record], time: datetime) -> Item:
    values = {"index_version": INDEX_VERSION, "backups": records}
    data = json.dumps(values, indent=2, sort_keys=True).encode("ascii") + b"\n"
    return Item(INDEX_NAME, len(data), hashlib.sha256(data).hexdigest(), time, data)


def _comparable(record: Record) -> Record:
    """Return a record without the digest of its manifest: a confirmation or a label alone needs no new archive."""
    manifest = record["manifest"]
    return {**record, "manifest": None if manifest is None else manifest["filename"]}


def _read_existing(request: ArchiveRequest, limit: int) -> tuple[tuple[Record, ...] | None, bool]:
    """Return the records in the existing archive's index, None if it has none, and whether the archive is whole.

    Reads no more than the index. ``limit`` is twice the size of ours: the index of an equal archive is smaller.
    """
    facts = request.folder.facts(request.filename)
    data = None if facts is None else request.format.first_file(_beginning(request, limit + LARGEST_MANIFEST), INDEX_NAME)
    if facts is None or data is None:
        return None, False
    try:
        values = json.loads(data)
        if values["index_version"] != INDEX_VERSION:
            return None, False
        records = tuple(values["backups"])
        times = [datetime.fromisoformat(record["created_at"]).replace(tzinfo=timezone.utc) for record in records]
        members = [Member(INDEX_NAME, len(data), max(times))]
        for record, time in zip(records, times):
            files = [record] if record["manifest"] is None else [record, record["manifest"]]
            members += [Member(file["filename"], file["bytes"], time) for file in files]
        return records, request.format.size_bytes(members) == facts.size_bytes
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, struct.error):
        return None, False  # not our index


def _beginning(request: ArchiveRequest, size: int) -> bytes:
    found = bytearray()
    with contextlib.closing(request.folder.chunks(request.filename)) as chunks:
        for chunk in chunks:
            found += chunk
            if len(found) >= size:
                break
    return bytes(found[:size])


# --- Applying it -----------------------------------------------------------------------------------


def _apply(request: ArchiveRequest, plan: Plan, size: int) -> str:
    """Write the archive, and return its digest."""
    folder, partial = request.folder, archive_partial_name(request.filename)
    descriptor = folder.claim(partial)
    if descriptor is None:
        raise Locked(f"Another run is writing {request.destination}.", "Wait for it, and run again.")
    committed = False
    try:
        with file_output(descriptor, f"Writing {request.destination}") as output:
            writer = request.format.writer(output)
            for item in plan.items:
                writer.add(item.member, [item.data] if item.data is not None else _payload(request.store, item))
                output.mark_final()
            writer.finish()
            written = os.fstat(descriptor).st_size
            if written != size:
                raise StoreFailed(f"{request.destination} has {written} bytes, not {size}.", f"Run again. {_AS_BEFORE}")
            sha256 = output.finish()
        folder.finish(descriptor)
        folder.rename(partial, request.filename)
        committed = True
        return sha256
    finally:
        if not committed and folder.taken(partial):
            folder.remove(partial)
        close_quietly(descriptor)


def _payload(store: ReadableStore, item: Item) -> t.Iterator[Chunk]:
    """Read a payload. Raises PayloadCorrupt unless size and digest are as planned. Yields no byte beyond the size."""
    digest, count = hashlib.sha256(), 0
    try:
        with lane(digest.update) as digesting:
            for chunk in store.chunks(item.name):
                count += len(chunk)
                if count > item.size_bytes:
                    break
                digesting.give(chunk)  # digested during the write
                yield chunk
                digesting.settle()
    except FileMissing as error:
        raise BackupMissing(
            f"{store.path(item.name)} was deleted while the archive was being made.",
            f"Run again. {_AS_BEFORE}",
            missing=[item.name],
        ) from error
    if count != item.size_bytes or digest.hexdigest() != item.sha256:
        raise PayloadCorrupt(
            f"{store.path(item.name)} is not what it should be: its size or its digest is not that of its manifest.",
            f"Leave it out, or restore it from another copy. {_AS_BEFORE}",
            filename=item.name,
        )


def _lines(records: t.Iterable[Record]) -> list[str]:
    return [f"{record.get('filename')} {record.get('state')} {record.get('sha256')}" for record in records]

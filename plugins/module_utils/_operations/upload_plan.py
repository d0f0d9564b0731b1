"""Decide which backups to send to a server: those that it lacks, unless they are deleted there.

A backup of the same name and digest is on the server already; its manifest may be missing, or have an older confirmation, pin or
labels.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    DirectoryMissing,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import with_later_marks
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import age_order, is_candidate
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import upload_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import (
    Selection,
    missing_error,
    missing_from,
    newest_of_each,
    selector_for,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.soundness import is_sound
from ansible_collections.lastgood.database.plugins.module_utils._retention import Entry, Rules, decide
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.partials import name_conflict


class PlannedUpload(t.NamedTuple):
    """A backup to send, with this manifest. ``replaces``: a copy of its name fails its own, and is deleted first."""

    backup: Backup
    manifest: Manifest
    replaces: bool = False


@dataclass
class Plan:
    """The backups to send and to refresh, the oldest first."""

    uploads: list[PlannedUpload] = field(default_factory=list)
    without_manifest: list[Backup] = field(default_factory=list)  # whose copy has no manifest, or one that can't be used
    relabelled: list[Backup] = field(default_factory=list)  # whose pin or labels changed later than their copy's
    outdated: list[Backup] = field(default_factory=list)  # whose copy has an older time of confirmation
    up_to_date: list[str] = field(default_factory=list)
    not_sent: list[tuple[str, str]] = field(default_factory=list)
    failures: dict[str, BackupError] = field(default_factory=dict)
    makes_directory: bool = False


def select_backups(source: ReadableStore, selection: Selection, now: datetime, check_mode: bool) -> list[Backup]:
    """Return the selected backups, the oldest first. Raises BackupMissing for a name or a database without a backup.

    ``newest`` counts the good ones. Others that are among the newest are returned as well, so that the report mentions them.
    """
    # In check mode, an earlier task may only have predicted the backups.
    if not source.exists() and not check_mode:
        raise DirectoryMissing(f"The directory {source.location} does not exist.", "Correct directory, or make a backup first.")
    found = list(Catalog(source).select(selection))
    if (missing := missing_from(found, selection)) and not check_mode:
        raise missing_error(missing, source.location, "List the backups with backup_facts. Nothing was copied.")
    if selection.newest is not None:
        good = [backup for backup in found if is_candidate(backup, now)]
        others = [backup for backup in newest_of_each(found, selection.newest, now) if backup.state != "good"]
        found = newest_of_each(good, selection.newest, now) + others
    return sorted(found, key=age_order)


def make_plan(chosen: list[Backup], remote: ReadableStore, retention: Rules | None, now: datetime, *, by_name: bool) -> Plan:
    """Compare the selected backups with the server's. Backups that are selected ``by_name`` are sent in any case."""
    catalog = Catalog(remote)
    files = catalog.files() if chosen else set()
    names = tuple(backup.name.filename for backup in chosen)
    copies = {backup.name.filename: backup for backup in catalog.select(Selection(names=names), files)}
    missing = [backup for backup in chosen if backup.state == "good" and backup.name.filename not in copies]
    unwanted = {} if by_name or not missing else _unwanted(missing, catalog, files, retention, now)
    plan = Plan()
    for backup in chosen:
        name = backup.name.filename
        if name in unwanted:
            plan.not_sent.append((name, unwanted[name]))
            continue
        try:
            _plan_one(plan, remote, backup, copies.get(name))
        except StoreFailed as error:
            plan.failures[name] = error
    return plan


def _unwanted(missing: list[Backup], catalog: Catalog, files: set[str], retention: Rules | None, now: datetime) -> dict[str, str]:
    """Return the backups that the server lacks because it deletes them, with the reason: they would be sent each night."""
    if retention is not None:
        databases = tuple({name for backup in missing if (name := selector_for(backup.name.kind, backup.database)) is not None})
        entries = map(Entry.of, itertools.chain(catalog.select(Selection(databases=databases), files), missing))
        deleted = {ruling.backup.filename for ruling in decide(entries, retention, now).deleted}
        return {
            backup.name.filename: "retention deletes it on the server" for backup in missing if backup.name.filename in deleted
        }
    newest = catalog.newest_good({backup.group for backup in missing}, now, files)
    return {
        backup.name.filename: "the server has a newer one: this one was deleted there, or never sent; name it to send it"
        for backup in missing
        if not backup.pinned
        and backup.group in newest
        and age_order(backup) < age_order(newest[backup.group])
        and upload_name(backup.name.filename, str(backup.manifest.payload_sha256)) not in files  # not begun before
    }


def new_manifest(backup: Backup, copy: Backup | None = None) -> Manifest:
    """Return the manifest for a new copy, without a verdict, which is about the copy that was read.

    A ``copy`` of the same payload that is replaced, or whose manifest is unusable, may have been pinned or labelled later.
    """
    manifest = backup.manifest._replace(verification=None)
    if copy is None or copy.manifest.payload_sha256 not in (None, manifest.payload_sha256):
        return manifest
    return with_later_marks(manifest, copy.manifest)


def refreshed_manifest(copy: Backup, backup: Backup) -> Manifest:
    """Return a copy's manifest with what is newer in the backup's own: its confirmation, its pin, its labels."""
    manifest = with_later_marks(copy.manifest, backup.manifest)
    return manifest._replace(confirmed_at=max(copy.confirmed_at, backup.confirmed_at))


def _plan_one(plan: Plan, remote: ReadableStore, backup: Backup, copy: Backup | None) -> None:
    name, digest = backup.name.filename, backup.manifest.payload_sha256
    if backup.state != "good":
        plan.not_sent.append((name, f"it is {backup.state}"))
    elif copy is None:
        plan.uploads.append(PlannedUpload(backup, new_manifest(backup)))
    elif copy.state == "corrupt" and (copy.manifest.payload_sha256 == digest or not copy.pinned):
        plan.uploads.append(PlannedUpload(backup, new_manifest(backup, copy), replaces=True))
    elif copy.manifest.payload_sha256 not in (None, digest):
        plan.failures[name] = name_conflict(copy.path)
    elif copy.state != "unverified":
        plan.up_to_date.append(name)
        if with_later_marks(copy.manifest, backup.manifest) != copy.manifest:
            plan.relabelled.append(backup)
        elif copy.confirmed_at < backup.confirmed_at:
            plan.outdated.append(backup)
    elif is_sound(remote, copy._replace(manifest=backup.manifest)):
        plan.up_to_date.append(name)
        plan.without_manifest.append(backup)
    else:
        plan.failures[name] = name_conflict(copy.path)

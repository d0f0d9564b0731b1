"""Record a finding in the manifest of the copy that was read, if it is still that copy."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import with_marks_of
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import LEVELS, Verification
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._operations.verdicts import Finding, VerifiedBackup
from ansible_collections.lastgood.database.plugins.module_utils._operations.verify_errors import Deleted
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store
from ansible_collections.lastgood.database.plugins.module_utils._text import bounded

_LONGEST_DETAIL = 1000  # characters


def record_finding(store: Store, backup: Backup, finding: Finding, now: datetime, *, check_mode: bool) -> VerifiedBackup:
    """Record a finding if it replaces the recorded verdict, and the copy is still the one that was read."""
    manifest = finding.manifest
    finding = dataclasses.replace(finding, detail=bounded(finding.detail, _LONGEST_DETAIL))
    adopts = backup.state == "unverified"
    if manifest is None or (adopts and finding.verdict != "passed") or not _says_more(finding, manifest.verification):
        return VerifiedBackup(backup, backup, finding)
    verification = Verification(finding.level, finding.verdict, now.replace(microsecond=0), finding.detail)
    noted = manifest._replace(verification=verification)
    verified = VerifiedBackup(backup, backup._replace(manifest=noted), finding)
    if check_mode:
        return verified
    filename = backup.name.filename
    with store.lock():
        current = Catalog(store).find(filename)
        if current is None:
            raise Deleted
        if not _is_same(current, backup):
            detail = "It was replaced, or verified by another run, in the meantime."
            return VerifiedBackup(backup, backup, Finding(finding.level, "inconclusive", detail))
        noted = with_marks_of(noted, current.manifest)
        if not adopts and current.manifest.confirmed_at is not None:  # a dump may have confirmed it meanwhile
            noted = noted._replace(confirmed_at=current.manifest.confirmed_at)
        store.replace(manifest_name(filename), noted.to_bytes(), like=filename)
    return verified


def _is_same(current: Backup, backup: Backup) -> bool:
    """Return whether a backup is still the one that was read. Its time of confirmation, pin and labels may have changed."""
    known = with_marks_of(current.manifest._replace(confirmed_at=backup.manifest.confirmed_at), backup.manifest)
    return (current.facts, known, current.unread) == (backup.facts, backup.manifest, None)


def _says_more(finding: Finding, recorded: Verification | None) -> bool:
    """Return whether a finding replaces the recorded verdict: a pass at a lower level does not replace one of a higher level."""
    if recorded is None:
        return True
    if finding.verdict == "inconclusive":
        return recorded.verdict == "inconclusive"
    return (
        finding.verdict == "failed"
        or recorded.verdict == "inconclusive"
        or LEVELS.index(finding.level) >= LEVELS.index(recorded.level)
    )

"""Read payloads before a prune deletes: the backups that must be good, and those that are recorded as corrupt."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Clock, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    CONTENT_DIFFERS,
    PAYLOAD_DIFFERS,
    Verification,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest_update import update_manifest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.soundness import is_sound
from ansible_collections.lastgood.database.plugins.module_utils._retention import Decision, Ruling
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store


class Reader:
    """Reads payloads before a deletion, each once: the last good backup of each group, and those recorded as corrupt."""

    def __init__(self, store: Store, *, reads_newest: bool, by_rules: bool) -> None:
        self.unread: StoreFailed | None = None
        self.sound: dict[str, Backup] = {}  # by file name: recorded as corrupt, but proved sound
        self._store = store
        self._reads_newest = reads_newest
        self._by_rules = by_rules
        self._problems: dict[str, str | None] = {}  # by file name
        self._found_corrupt: list[Backup] = []
        self._corrupt: dict[str, str | None] = {}  # by file name: the reason not to delete it

    @property
    def warnings(self) -> list[str]:
        """Warnings about the backups that are recorded as corrupt and stay."""
        sound = [
            f"{backup.path} is recorded as corrupt, but matches its manifest: it counts as good again."
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
        """Return why a backup that is recorded as corrupt must not be deleted, None if it is indeed corrupt."""
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
            return "its file is unchanged, and only backup_verify can read its content"
        self.sound[filename] = backup
        return "it matches its manifest"

    def without_doubtful(self, decision: Decision) -> Decision:
        """Pass over each backup that is recorded as corrupt and that another reading did not prove corrupt."""
        doubtful = {
            ruling.backup.filename: f"it is recorded as corrupt, but {doubt}"
            for ruling in self._corrupt_in(decision)
            if (doubt := self._corrupt[ruling.backup.filename]) is not None
        }
        retained = [ruling for ruling in decision.deleted if ruling.backup.filename in doubtful]
        return replace(
            decision,
            deleted=[ruling for ruling in decision.deleted if ruling.backup.filename not in doubtful],
            passed_over=[*decision.passed_over, *(Ruling(one.backup, (doubtful[one.backup.filename],)) for one in retained)],
        )

    def record_sound(self, clock: Clock) -> list[str]:
        """Record in manifests that backups proved sound. The caller holds the lock. Return a warning for each failure."""
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
                problems.append(f"That {backup.path} is sound could not be recorded in its manifest: {error.problem}")
        return problems

    def blocked_groups(self, decision: Decision) -> dict[Group, str]:
        """Return the groups whose last good backup is corrupt or can't be read, with a warning for each."""
        blocked = {}
        for group, filename in self._anchors(decision):
            if filename not in self._problems:
                self._problems[filename] = self._read(filename)
            if (problem := self._problems[filename]) is not None:
                blocked[group] = f"{self._store.path(filename)} {problem}, so nothing of its group is deleted."
        return blocked

    def has_read_all(self, decision: Decision) -> bool:
        corrupt = {ruling.backup.filename for ruling in self._corrupt_in(decision)}
        anchors = {filename for _group, filename in self._anchors(decision)}
        return self._problems.keys() >= anchors and self._corrupt.keys() >= corrupt

    def record_corrupt(self, clock: Clock) -> list[str]:
        """Record in manifests that backups are corrupt, so that the next run relies on others. The caller holds the lock.

        Return a warning for each failure, and continue: the disk may be full or the connection lost, and what
        was deleted must still be reported.
        """
        problems = []
        for backup in self._found_corrupt:
            verdict = Verification("checksum", "failed", clock().replace(microsecond=0), PAYLOAD_DIFFERS)
            try:
                update_manifest(self._store, backup, verification=verdict)
            except BackupError as error:
                problems.append(f"That {backup.path} is corrupt could not be recorded in its manifest: {error.problem}")
        return problems

    def _anchors(self, decision: Decision) -> list[tuple[Group, str]]:
        """Return the backups that must be sound before others of their group are deleted: the last good and newest suspect."""
        groups = {ruling.backup.group for ruling in decision.deleted} if self._reads_newest else set()
        anchors = (*decision.last_good.items(), *decision.newest_suspect.items())
        return [(group, backup.filename) for group, backup in anchors if group in groups]

    def _read(self, filename: str) -> str | None:
        """Return what is wrong with a backup, None if it is sound, or was deleted meanwhile: the next plan omits it."""
        backup = Catalog(self._store).find(filename)
        try:
            if backup is None or is_sound(self._store, backup):
                return None
        except StoreFailed as error:
            self.unread = error
            return f"can't be read ({error.problem})"
        self._found_corrupt.append(backup)
        return "does not match its manifest any more"

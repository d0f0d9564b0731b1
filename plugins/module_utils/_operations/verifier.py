"""Judge a backup: read it, compare its digests, and have its database's programs examine or restore its content."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import BEGINNING_BYTES, Identity
from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import decoder_for
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import ENCRYPTIONS
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import Examiners, content_digest_for
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    IdentityMissing,
    Inconclusive,
    Interrupted,
    PayloadCorrupt,
    StoreFailed,
    host_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    CONTENT_DIFFERS,
    PAYLOAD_DIFFERS,
    Level,
    Manifest,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.soundness import READINGS
from ansible_collections.lastgood.database.plugins.module_utils._operations.adoption import manifest_for
from ansible_collections.lastgood.database.plugins.module_utils._operations.reading import (
    Reading,
    read_payload,
    read_payload_alone,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.verdicts import Finding
from ansible_collections.lastgood.database.plugins.module_utils._operations.verify_errors import (
    Deleted,
    StoreLost,
    Unread,
    asking_store,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner
from ansible_collections.lastgood.database.plugins.module_utils._progress import Task
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store


class Verifier:
    """Verifies one backup after another. ``notes`` has the reasons why ``readable_by`` of a backup is not known."""

    def __init__(
        self, store: Store, level: Level, runner: Runner, examiners: Examiners, task: Task, identity: Identity | None = None
    ) -> None:
        self._store = store
        self._level = level
        self._examiners = examiners
        self._runner = runner
        self._task = task
        self._identity = identity
        self.notes: list[str] = []
        self._done_bytes = 0
        self._title = ""

    def begin(self, done_bytes: int, title: str) -> None:
        """Begin the next backup. ``done_bytes`` is the size of all before it."""
        self._done_bytes, self._title = done_bytes, title

    def read_again(self, backup: Backup) -> Backup:
        """Return the backup, and read its manifest again if that failed before. Raises Interrupted."""
        if backup.unread is None:
            return backup
        try:
            with asking_store():
                current = Catalog(self._store).find(backup.name.filename)
        except StoreLost:
            self._check_stopped()
            raise
        except Unread:
            return backup
        if current is None:
            raise Deleted
        return current

    def judge(self, backup: Backup) -> Finding:
        """Return the finding. Raises Interrupted.

        A failure counts only if a second reading, from the medium, agrees.
        """
        return dataclasses.replace(self._agreed(backup), readable_by=self._readable_by(backup))

    def _readable_by(self, backup: Backup) -> tuple[str, ...] | None:
        """Return the ids of the identity's keys that open a backup, None without an identity or for an unencrypted backup."""
        encryption, identity = backup.name.encoding.encryption, self._identity
        if encryption is None or identity is None:
            return None
        try:
            with asking_store(), host_errors():
                beginning = self._store.read(backup.name.filename, BEGINNING_BYTES)
            if beginning is None:
                raise Deleted
            return ENCRYPTIONS[encryption].opened_by(identity, beginning, self._runner)
        except (BackupError, Unread) as error:
            self._check_stopped()
            note = f"Whether the identity opens backups that are encrypted with {encryption} is not known: {error}"
            if note not in self.notes:
                self.notes.append(note)
            return None

    def _agreed(self, backup: Backup) -> Finding:
        """Return the finding of the first reading if it passed, else one that two readings agree about."""
        doubts: set[str] = set()
        for _number in range(READINGS):
            finding = self._read_once(backup)
            if finding.doubt is None or finding.doubt in doubts:
                return finding
            doubts.add(finding.doubt)
            self._store.drop_cache(backup.name.filename)
        return Finding(self._level, "inconclusive", f"Each reading gave another result: {'; '.join(sorted(doubts))}")

    def _read_once(self, backup: Backup) -> Finding:
        """Return the finding of one reading. Raises Interrupted."""
        self._check_stopped()
        self._task.reach(self._done_bytes, self._title)  # a second reading begins again at the same count
        try:
            finding = self._judge(backup)
        except StoreLost:
            self._check_stopped()
            raise
        if finding.verdict != "passed":
            self._check_stopped()  # an error in a stopped run comes from the stop, and proves nothing about the backup
        return finding

    def _check_stopped(self) -> None:
        if self._runner.is_stopped():
            raise Interrupted("The run was ended before all backups were examined.", "Run it again.")

    def _judge(self, backup: Backup) -> Finding:
        """Return the finding, which is inconclusive if the host lacks something."""
        manifest: Manifest | None = None
        try:
            with host_errors():
                manifest = manifest_for(backup, self._store, self._level, self._runner, self._identity)
                return self._examine(backup, manifest)
        except Interrupted:
            raise
        except Unread as error:
            return Finding(self._level, "inconclusive", str(error), manifest, doubt=str(error))
        except ContentInvalid as error:
            return Finding("structure", "failed", str(error), manifest, doubt=str(error))
        except BackupError as error:
            return Finding(self._level, "inconclusive", str(error), manifest)

    def _examine(self, backup: Backup, manifest: Manifest) -> Finding:
        if manifest.payload_bytes not in (None, backup.size_bytes):
            detail = f"It has {backup.size_bytes} bytes, and its manifest says {manifest.payload_bytes}."
            return Finding("checksum", "failed", detail, manifest)
        if self._level == "checksum" and backup.name.encrypted and manifest.payload_sha256 is not None:
            return self._compare_payload(backup, manifest)
        if self._level == "checksum":
            return self._compare_all(backup, manifest)
        try:
            return self._look(backup, manifest)
        except (Interrupted, ContentInvalid, StoreFailed):
            raise
        except BackupError:
            # The digests can be compared even if the host lacks what the examination needs, such as the identity.
            if manifest.payload_sha256 is not None:
                compare = self._compare_payload if backup.name.encrypted else self._compare_all
                compared = compare(backup, manifest)
                if compared.verdict == "failed":
                    return compared
            raise

    def _look(self, backup: Backup, manifest: Manifest) -> Finding:
        examiner = self._examiners.examiner_for(manifest)
        if examiner is None:
            raise self._unknown(manifest)
        if backup.name.encrypted and self._identity is None:
            raise IdentityMissing(
                f"It is encrypted{_for_recipients(manifest)}, and no identity is given.",
                "Give the private key of one of its recipients as identity or identity_file.",
            )
        begin = examiner.restoring if self._level == "restore" else examiner.reading_structure
        with begin(manifest) as look:
            reading = self._read(backup, manifest, _errors_inconclusive(look.write))
            known = _completed(manifest, reading)
            compared = self._compare(reading, known)
            if compared.verdict == "failed":
                return compared
            try:
                found = _errors_inconclusive(look.finish)()
            except ContentInvalid as error:
                return Finding(self._level, "failed", str(error), known)
        return Finding(self._level, "passed", found.detail, known, found.tables, found.rows)

    def _read(self, backup: Backup, manifest: Manifest, sink: t.Callable[..., None] = lambda data: None) -> Reading:
        store, filename, is_stopped = self._store, backup.name.filename, self._runner.is_stopped
        digest = content_digest_for(manifest)
        if digest is None:
            raise self._unknown(manifest)
        try:
            decoding = decoder_for(backup.name.encoding, self._runner, self._identity)
        except BackupError:
            # The content can't be decoded, but the payload's own digest can be compared.
            with asking_store():
                reading = read_payload_alone(store, filename, is_stopped, manifest, self._task.advance)
            if reading.payload_is(manifest) or manifest.payload_sha256 is None:
                raise
            return reading
        with asking_store():
            return read_payload(store, filename, decoding, digest, sink, is_stopped, manifest, self._task.advance)

    def _compare_payload(self, backup: Backup, manifest: Manifest) -> Finding:
        """Compare an encrypted payload's own digest with the manifest. This needs no identity."""
        with asking_store():
            is_stopped, advance = self._runner.is_stopped, self._task.advance
            reading = read_payload_alone(self._store, backup.name.filename, is_stopped, manifest, advance)
        if not reading.payload_is(manifest):
            return Finding("checksum", "failed", PAYLOAD_DIFFERS, manifest, doubt=f"its SHA-256 is {reading.payload_sha256}")
        return Finding("checksum", "passed", "Its SHA-256 is the one in its manifest. The content is encrypted.", manifest)

    def _compare_all(self, backup: Backup, manifest: Manifest) -> Finding:
        """Compare the digests of the payload and of its content with the manifest."""
        return self._compare(self._read(backup, manifest), manifest)

    def _compare(self, reading: Reading, manifest: Manifest) -> Finding:
        """Compare the reading with the manifest. A wrong digest fails the level checksum; unreadable content, structure."""
        if not reading.payload_is(manifest):
            return Finding("checksum", "failed", PAYLOAD_DIFFERS, manifest, doubt=f"its SHA-256 is {reading.payload_sha256}")
        if reading.error is not None and not isinstance(reading.error, PayloadCorrupt):
            return Finding("structure", "failed", str(reading.error), manifest, doubt=str(reading.error))
        if not reading.content_is(manifest):
            return Finding("checksum", "failed", CONTENT_DIFFERS, manifest, doubt=CONTENT_DIFFERS)
        return Finding("checksum", "passed", "Its digests are those in its manifest.", manifest)

    def _unknown(self, manifest: Manifest) -> Inconclusive:
        return Inconclusive(
            f"What is inside ({manifest.engine}, {manifest.format}, encrypted: {manifest.encrypted}) is of an unknown kind.",
            "Use the version of the collection that made it.",
        )


Answer = t.TypeVar("Answer")


def _errors_inconclusive(work: t.Callable[..., Answer]) -> t.Callable[..., Answer]:
    """Report errors of the disk for unpacked content as inconclusive: they say nothing about the backup."""

    def do(*arguments: t.Any) -> Answer:
        try:
            return work(*arguments)
        except StoreFailed as error:
            raise Inconclusive(error.problem, error.remedy) from error

    return do


def _completed(manifest: Manifest, reading: Reading) -> Manifest:
    """Return the manifest, and add sizes and digests that it lacks.

    It adds nothing about the content of an encrypted backup, since the digest would confirm a guess.
    """
    if manifest.payload_sha256 is not None:
        return manifest
    completed = manifest._replace(payload_bytes=reading.payload_bytes, payload_sha256=reading.payload_sha256)
    return completed if manifest.encrypted else completed.with_content(reading.content_bytes, reading.content_digest)


def _for_recipients(manifest: Manifest) -> str:
    return f" for {', '.join(manifest.recipients)}" if manifest.recipients else ""

"""Verify whether each backup is good, and record the verdict in the manifest of the copy that was read.

checksum    one pass over the payload: its size and digest, and those of its content
structure   in the same pass, the database's own programs read the content; a backup without a manifest gets one
restore     the backup is restored to a private place, and its tables and rows are counted

Only a wrong size or digest makes a backup corrupt. If the host lacks something that the verification needs, the verdict is
inconclusive, and the state of the backup does not change.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import decoder_for
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import (
    Examiners,
    content_digest_for,
    describe_content,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionFailed,
    ContentInvalid,
    FileMissing,
    Inconclusive,
    Interrupted,
    NothingFound,
    PayloadCorrupt,
    StoreFailed,
    host_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, display_time
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import with_marks_of
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import age_order
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    CONTENT_DIFFERS,
    LEVELS,
    MANIFEST_VERSION,
    PAYLOAD_DIFFERS,
    PRODUCER,
    Level,
    Manifest,
    Verification,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import (
    Selection,
    missing_error,
    missing_from,
    newest_of_each,
    passed_over,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.soundness import READINGS
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.reading import (
    Reading,
    read_payload,
    read_payload_alone,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.status_notes import note_verifications
from ansible_collections.lastgood.database.plugins.module_utils._operations.verdicts import Finding, Report, VerifiedBackup
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner
from ansible_collections.lastgood.database.plugins.module_utils._progress import Task
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store
from ansible_collections.lastgood.database.plugins.module_utils._text import bounded

UNKNOWN = "unknown"  # origin and instance in a manifest that a verification wrote, since it can't know them

_LONGEST_DETAIL = 1000  # characters
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class VerifyRequest:
    """Which backups to verify, and at which level. ``options`` has those of each engine, by its name."""

    store: Store
    selection: Selection
    level: Level
    options: t.Mapping[str, t.Any]


def verify(request: VerifyRequest, context: Context) -> Outcome:
    """Verify each backup, the oldest first, and record the verdicts. Check mode records nothing."""
    report = Report()
    _verify_all(request, context, report)
    if not context.check_mode:
        passed = [one.after for one in report.verified if one.finding.verdict == "passed"]
        report.notes += note_verifications(request.store, passed, context.clock(), is_drill=request.level == "restore")
    return report.outcome(request.store)


def _verify_all(request: VerifyRequest, context: Context, report: Report) -> None:
    """Add the finding for each backup to the report, until all are verified or an error ends the run."""
    backups = sorted(_selected(request, context.clock(), report), key=age_order)
    with context.progress.task("verification", sum(backup.size_bytes for backup in backups)) as task:
        _verify_each(request, context, backups, task, report)


def _verify_each(request: VerifyRequest, context: Context, backups: list[Backup], task: Task, report: Report) -> None:
    runner, clock = context.runner, context.clock
    verifier = _Verifier(request, runner, Examiners(request.options, runner, clock), task)
    done_bytes = 0
    for number, backup in enumerate(backups, 1):
        verifier.begin(done_bytes, f"{backup.title} ({number} of {len(backups)})")
        done_bytes += backup.size_bytes
        began = time.monotonic()
        try:
            backup = verifier.read_again(backup)
            finding = verifier.judge(backup)
        except _Deleted:
            report.note_deleted(backup, is_named=request.selection.names is not None)
            continue
        except Interrupted as error:
            report.ended_by = error
            break
        except _StoreLost as lost:
            report.verified.append(VerifiedBackup(backup, backup, Finding(request.level, "inconclusive", str(lost.error))))
            report.ended_by = lost.error
            break
        seconds = time.monotonic() - began
        try:
            verified = _note(request.store, backup, finding, clock(), check_mode=context.check_mode)
        except _Deleted:
            report.note_deleted(backup, is_named=request.selection.names is not None)
            continue
        except BackupError as error:
            verified = VerifiedBackup(backup, backup, finding)
            report.ended_by = error
        report.verified.append(dataclasses.replace(verified, seconds=seconds))
        if report.ended_by is not None:
            break


def _selected(request: VerifyRequest, now: datetime, report: Report) -> list[Backup]:
    """Return the selected backups. Raises BackupMissing for a name or a database without a backup, which can't pass."""
    selection, location = request.selection, request.store.location
    found = list(Catalog(request.store).select(selection))
    missing = missing_from(found, selection)
    if missing:
        raise missing_error(missing, location, "List the backups with backup_facts. Nothing was verified.")
    if selection.newest is not None:
        chosen = newest_of_each(found, selection.newest, now)
        report.notes += [f"Newer, and passed over: {words}." for words in passed_over(found, chosen, now)]
        found = chosen
    if not found:
        raise NothingFound(f"{location} has no backup.", "Make one with db_backup, or correct directory.")
    return found


class _StoreLost(Exception):
    """The connection to the store is lost, so that the other backups can't be verified either."""

    def __init__(self, error: ConnectionFailed) -> None:
        super().__init__(str(error))
        self.error = error


class _Enough(Exception):
    """The rest of the content is not needed."""


class _Deleted(Exception):
    """The backup was deleted since it was listed, as by retention: it gets no verdict."""


class _Unread(Exception):
    """The payload can't be read, which proves nothing about it."""


@contextlib.contextmanager
def _asking_store() -> t.Iterator[None]:
    """Distinguish errors of the store, such as a lost connection or a disk error, from those of a drill."""
    try:
        yield
    except ConnectionFailed as error:
        raise _StoreLost(error) from error
    except FileMissing as error:
        raise _Deleted from error
    except StoreFailed as error:
        raise _Unread(str(error)) from error


class _Verifier:
    """Verifies one backup after another."""

    def __init__(self, request: VerifyRequest, runner: Runner, examiners: Examiners, task: Task) -> None:
        self._store = request.store
        self._level = request.level
        self._examiners = examiners
        self._runner = runner
        self._task = task
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
            with _asking_store():
                current = Catalog(self._store).find(backup.name.filename)
        except _StoreLost:
            self._check_stopped()
            raise
        except _Unread:
            return backup
        if current is None:
            raise _Deleted
        return current

    def judge(self, backup: Backup) -> Finding:
        """Return the finding. Raises Interrupted.

        A failure counts only if a second reading, from the medium, agrees.
        """
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
        except _StoreLost:
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
                manifest = self._manifest_for(backup)
                return self._examine(backup, manifest)
        except Interrupted:
            raise
        except _Unread as error:
            return Finding(self._level, "inconclusive", str(error), manifest, doubt=str(error))
        except ContentInvalid as error:
            return Finding("structure", "failed", str(error), manifest, doubt=str(error))
        except BackupError as error:
            return Finding(self._level, "inconclusive", str(error), manifest)

    def _manifest_for(self, backup: Backup) -> Manifest:
        """Return the manifest to compare with. Raises an error if no manifest can be this backup's."""
        sidecar = self._store.path(manifest_name(backup.name.filename))
        if backup.state != "unverified":
            return backup.manifest
        if backup.unread is not None:
            raise Inconclusive(backup.unread.problem, backup.unread.remedy)
        if backup.manifest.usable:
            raise ContentInvalid(
                f"{sidecar} is another backup's: it says {backup.manifest.kind} {backup.manifest.database} of "
                f"{display_time(backup.created_at)}.",
                "See whether files were renamed, and give each manifest the name of its payload.",
            )
        with _asking_store():
            is_taken = self._store.taken(manifest_name(backup.name.filename))
        if is_taken:
            raise Inconclusive(
                f"{sidecar} is not a manifest of ours that could be read, and is left as it is.",
                "Examine it, and move it away if the backup is to be adopted.",
            )
        if self._level == "checksum":
            raise Inconclusive("It has no manifest to compare with.", "With level=structure it is examined, and gets one.")
        return self._describe(backup)

    def _describe(self, backup: Backup) -> Manifest:
        """Return a manifest for a backup that has none. Raises ContentInvalid if its content is not recognised."""
        name = backup.name
        if name.encrypted or (name.label and name.kind == "database" and name.database is None):
            raise Inconclusive("Its name does not say which database it is, or it is encrypted.", "Only its maker can tell.")
        described = describe_content(self._head(backup))
        if described is None:
            raise ContentInvalid(
                "What is inside does not begin as a dump that is known here.", "See with the file's maker what it is."
            )
        engine, form = described
        return Manifest(
            manifest_version=MANIFEST_VERSION,
            producer=PRODUCER,
            kind=name.kind,
            origin=UNKNOWN,
            engine=engine,
            instance=UNKNOWN,
            database=name.database,
            format=form,
            compression=name.compression,
            encrypted=False,
            created_at=name.stamp,
            confirmed_at=name.stamp,
        )

    def _head(self, backup: Backup) -> bytes:
        """Return the beginning of the content, or as much of it as can be read."""
        with _asking_store():
            beginning = self._store.read(backup.name.filename, _HEAD_BYTES)
        if beginning is None:
            raise _Deleted
        head = bytearray()

        def take(piece: bytes | memoryview) -> None:
            head.extend(piece)
            if len(head) >= _HEAD_BYTES:  # even few bytes may decompress to many millions
                raise _Enough

        decoding = decoder_for(backup.name.encoding, self._runner)
        with decoding.decoding(take) as decoder, contextlib.suppress(ContentInvalid, _Enough):
            decoder.write(memoryview(beginning))
            decoder.finish()  # a program may write its output only at the end
        return bytes(head)

    def _examine(self, backup: Backup, manifest: Manifest) -> Finding:
        if manifest.payload_bytes not in (None, backup.size_bytes):
            detail = f"It has {backup.size_bytes} bytes, and its manifest says {manifest.payload_bytes}."
            return Finding("checksum", "failed", detail, manifest)
        if self._level == "checksum":
            return self._compare(self._read(backup, manifest), manifest)
        try:
            return self._look(backup, manifest)
        except (Interrupted, ContentInvalid, StoreFailed):
            raise
        except BackupError:
            # The digests can be compared even if the host lacks what the examination needs.
            if manifest.payload_sha256 is not None:
                compared = self._compare(self._read(backup, manifest), manifest)
                if compared.verdict == "failed":
                    return compared
            raise

    def _look(self, backup: Backup, manifest: Manifest) -> Finding:
        examination = self._examiners.examination_for(manifest)
        if examination is None or backup.name.encrypted:
            raise self._unknown(manifest)
        with examination.restoring() if self._level == "restore" else examination.reading_structure() as look:
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
        if digest is None or backup.name.encrypted:
            raise self._unknown(manifest)
        try:
            decoding = decoder_for(backup.name.encoding, self._runner)
        except BackupError:
            # The content can't be decoded, but the payload's own digest can be compared.
            with _asking_store():
                reading = read_payload_alone(store, filename, is_stopped, manifest, self._task.advance)
            if reading.payload_is(manifest) or manifest.payload_sha256 is None:
                raise
            return reading
        with _asking_store():
            return read_payload(store, filename, decoding, digest, sink, is_stopped, manifest, self._task.advance)

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
    """Make errors of the disk that a backup is unpacked to inconclusive: they say nothing about the backup."""

    def do(*arguments: t.Any) -> Answer:
        try:
            return work(*arguments)
        except StoreFailed as error:
            raise Inconclusive(error.problem, error.remedy) from error

    return do


def _completed(manifest: Manifest, reading: Reading) -> Manifest:
    """Return the manifest, and add sizes and digests that it lacks."""
    if manifest.payload_sha256 is not None:
        return manifest
    completed = manifest._replace(payload_bytes=reading.payload_bytes, payload_sha256=reading.payload_sha256)
    return completed.with_content(reading.content_bytes, reading.content_digest)


def _note(store: Store, backup: Backup, finding: Finding, now: datetime, *, check_mode: bool) -> VerifiedBackup:
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
            raise _Deleted
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

"""The errors, in the order of docs/errors.md.

Each has a stable ``code`` for playbooks, and a text of two parts: the problem (the thing and the cause, in the words of the
program or the server that reported it) and the remedy (what to do next).
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._text import bounded


class BackupError(Exception):
    """An error with a cause outside this collection. A module reports it as its failure, without a traceback."""

    code = "backup_failed"

    def __init__(self, problem: str, remedy: str, **details: t.Any) -> None:
        ended = problem if problem.endswith((".", "!", "?")) else f"{problem}."  # a program's message may already end so
        super().__init__(f"{ended} {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.details = details

    def as_result(self) -> dict[str, t.Any]:
        """Return the value ``error`` of a module's result: the code, and details such as a program's exit status."""
        return {"code": self.code, **self.details}


# --- The task and the host -----------------------------------------------------------------------


class ArgumentInvalid(BackupError):
    """An option has a value that makes no sense, or that contradicts another option."""

    code = "argument_invalid"


class ClockWrong(BackupError):
    """The clocks of the host and of the controller differ."""

    code = "clock_wrong"


class HostExhausted(BackupError):
    """The host has no memory, thread, process or file descriptor to give."""

    code = "host_exhausted"

    def __init__(self, words: str) -> None:
        super().__init__(
            f"The host gave out: {words}.",
            "See its memory, and how many processes and open files the user or the service may have (ulimit -u -n, TasksMax); "
            "then run again.",
        )


class IdentityMissing(BackupError):
    """A backup is encrypted, and the options give no identity."""

    code = "identity_missing"


class IdentityWrong(BackupError):
    """The identity does not open the backup. Another one may."""

    code = "identity_wrong"


class Interrupted(BackupError):
    """A signal ended the run."""

    code = "interrupted"


class LibraryMissing(BackupError):
    """A Python library is not installed on the host."""

    code = "library_missing"


class Locked(BackupError):
    """Another run holds a lock that this one needs."""

    code = "locked"


class ProgramFailed(BackupError):
    """A program did not start, or ended with a status other than 0."""

    code = "program_failed"


class ProgramMismatch(BackupError):
    """The only program for the server is of another major version."""

    code = "program_mismatch"


class ProgramMissing(BackupError):
    """A program is not installed, or no installed version is right for the server."""

    code = "program_missing"


class RecipientInvalid(BackupError):
    """A recipient of encrypted backups is malformed, unknown, expired, revoked, or a private key."""

    code = "recipient_invalid"


class RunDied(BackupError):
    """A run was killed, or its host went down. The controller reports it, and backup_facts for an earlier run."""

    code = "run_died"


class ProgramTimeout(BackupError):
    """A program exceeded its time limit."""

    code = "timeout"


class Unexpected(BackupError):
    """The collection does not know this error."""

    code = "unexpected"

    def __init__(self, words: str, where: str) -> None:
        super().__init__(
            f"Something happened that this collection does not know, in {where}: {words}",
            "Earlier backups are as they were. Report it, with the traceback (ANSIBLE_DISPLAY_TRACEBACK=error, or -vvv before "
            "ansible-core 2.19).",
            where=where,
        )


class SeveralFailed(BackupError):
    """Several databases or backups failed. The code is the first one's."""

    def __init__(self, problem: str, remedy: str, first: BackupError) -> None:
        super().__init__(problem, remedy, **first.details)
        self.code = first.code


# --- The database --------------------------------------------------------------------------------


class DatabaseClosed(BackupError):
    """The database exists, but the user may not connect to it."""

    code = "database_closed"


class DatabaseExists(BackupError):
    """The database to restore exists already."""

    code = "database_exists"


class DatabaseInUse(BackupError):
    """Somebody is connected to the database to replace."""

    code = "database_in_use"


class DatabaseLocked(BackupError):
    """Another session holds a lock on the database to replace."""

    code = "database_locked"


class DatabaseMissing(BackupError):
    """The server has no such database."""

    code = "database_missing"


class ExtensionUnavailable(BackupError):
    """The server does not allow an extension of the dump in the new database."""

    code = "extension_unavailable"


class GrantMissing(BackupError):
    """The user may not read all that a backup has."""

    code = "grant_missing"


class BinaryLogOff(BackupError):
    """The position in the server's binary log was requested, and the server has none."""

    code = "binary_log_off"


class NameRefused(BackupError):
    """The database's own programs can't use its name."""

    code = "name_refused"


class NotOwner(BackupError):
    """Only the owner of a database's file, or root, can copy it without harm."""

    code = "not_owner"


class PartsMissing(BackupError):
    """The backup lacks a schema or table that restore_only names."""

    code = "parts_missing"


class QueryFailed(BackupError):
    """The database server refused a query."""

    code = "query_failed"


class RecoveryConflict(BackupError):
    """A standby cancelled the dump, which would have delayed the replay."""

    code = "recovery_conflict"


class ReplayBehind(BackupError):
    """A standby did not replay what the run waited for."""

    code = "replay_behind"


class RolesMissing(BackupError):
    """The server lacks roles that the dump's owners and grants need."""

    code = "roles_missing"


class RunSqlFailed(BackupError):
    """A statement of run_sql failed."""

    code = "run_sql_failed"


class ServerReadOnly(BackupError):
    """The server accepts no changes."""

    code = "server_read_only"


class ServerTooOld(BackupError):
    """The server is older than the one that was dumped."""

    code = "server_too_old"


class SourceBusy(BackupError):
    """Another session holds a lock on the database to back up."""

    code = "source_busy"


class SourceInvalid(BackupError):
    """The source is not a database, or was replaced while it was read."""

    code = "source_invalid"


# --- Connections ---------------------------------------------------------------------------------


class ConnectionFailed(BackupError):
    """A server can't be reached, or rejected the connection. Its children name the reason."""

    code = "connection_failed"


class AuthenticationFailed(ConnectionFailed):
    """A server rejected the user, the password or the key."""

    code = "authentication_failed"


class BannerMissing(ConnectionFailed):
    """The program at the address does not speak SSH."""

    code = "no_ssh_banner"


class ConnectionLost(ConnectionFailed):
    """An established connection broke."""

    code = "connection_lost"


class ConnectionPooled(ConnectionFailed):
    """A pooler shares the server's sessions between clients."""

    code = "connection_pooled"


class ConnectionRefused(ConnectionFailed):
    """No program listens at the address."""

    code = "connection_refused"


class ConnectionTimeout(ConnectionFailed):
    """A server did not answer in time."""

    code = "connection_timeout"


class HostKeyChanged(ConnectionFailed):
    """The server's host key is not the recorded one."""

    code = "host_key_changed"


class HostKeyRevoked(ConnectionFailed):
    """The server's host key is revoked."""

    code = "host_key_revoked"


class HostKeyUnknown(ConnectionFailed):
    """No file records the server's host key."""

    code = "host_key_unknown"


class HostNotFound(ConnectionFailed):
    """A host name has no address."""

    code = "host_not_found"


class KeyUnreadable(BackupError):
    """A private key can't be read, or the file is no private key."""

    code = "key_unreadable"


class PassphraseWrong(BackupError):
    """The passphrase does not open the private key, or is missing."""

    code = "wrong_passphrase"


class ServerInvalid(ConnectionFailed):
    """A server's answer breaks the protocol."""

    code = "server_invalid"


class SftpUnavailable(ConnectionFailed):
    """The server offers no SFTP for this account."""

    code = "sftp_unavailable"


# --- Backups -------------------------------------------------------------------------------------


class BackupAmbiguous(BackupError):
    """Backups of several groups match the selection."""

    code = "backup_ambiguous"


class BackupMissing(BackupError):
    """No such backup exists."""

    code = "backup_missing"


class NothingFound(BackupMissing):
    """No backup matches the selection."""

    code = "nothing_found"


class ContentInvalid(BackupError):
    """A dump is not whole, although its program reported no error."""

    code = "content_invalid"


class PayloadCorrupt(ContentInvalid):
    """A payload does not match its manifest."""

    code = "payload_corrupt"


class DeleteFailed(BackupError):
    """Some backups could not be deleted."""

    code = "delete_failed"


class Inconclusive(BackupError):
    """A backup could not be judged, because the host or the server lacks something."""

    code = "inconclusive"


class LastGoodRefused(BackupError):
    """The backup to delete is the last good one of its group."""

    code = "last_good_refused"


class ManifestUnusable(BackupError):
    """A backup has no manifest that can be changed."""

    code = "manifest_unusable"


class NameConflict(BackupError):
    """A backup of the same name and other content exists."""

    code = "name_conflict"


class PinnedRefused(BackupError):
    """The backup to delete is pinned."""

    code = "pinned_refused"


class VerificationFailed(BackupError):
    """At least one backup is not good."""

    code = "verification_failed"


# --- Where backups are stored --------------------------------------------------------------------


class StoreError(BackupError):
    """A store failed. Never raised itself: each cause has a child."""


class DestinationUnusable(BackupError):
    """The file to write has a name or a place that is not allowed."""

    code = "destination_unusable"


class DirectoryUnusable(StoreError):
    """The directory of backups can't be used. Its children name the usual reasons."""

    code = "directory_unusable"


class DirectoryExposed(StoreError):
    """Others may read backups, or put something in their place."""

    code = "directory_exposed"


class DirectoryMissing(DirectoryUnusable):
    """The directory of backups does not exist."""

    code = "directory_missing"


class DirectoryNotWritable(DirectoryUnusable):
    """The user may not write to the directory of backups."""

    code = "directory_not_writable"


class NotADirectory(DirectoryUnusable):
    """The path of the directory of backups leads to a file of another type."""

    code = "not_a_directory"


class LocksUnavailable(StoreError):
    """The file system supports no file locks."""

    code = "locks_unavailable"


class NoSpace(StoreError):
    """The disk or the quota is full."""

    code = "no_space"


class ReadBackDiffers(BackupError):
    """The server returned other bytes than it was sent."""

    code = "read_back_differs"


class SpaceLow(StoreError):
    """The next backups may not fit."""

    code = "space_low"


class StoreFailed(StoreError):
    """Reading or writing a file of the store failed."""

    code = "store_failed"


class FileMissing(StoreFailed):
    """The file does not exist. Callers that expect this catch it; users see the code of StoreFailed."""


class FileForbidden(StoreFailed):
    """The user may not read, change or delete the file. Users see the code of StoreFailed."""


# --- What all errors share ------------------------------------------------------------------------


_FAILURES_SHOWN = 3
_TITLES_SHOWN = 5
_FAILURE_CHARACTERS = 400


def summary_of(failures: t.Sequence[tuple[str, str]]) -> str:
    """Return the titles that failed and the reasons, short enough to read: each reason once, and the first few of them."""
    by_reason: dict[str, list[str]] = {}
    for title, reason in failures:
        by_reason.setdefault(reason, []).append(title)
    shown = list(by_reason.items())[:_FAILURES_SHOWN]
    said = [f"[{_listed(titles)}] {bounded(reason, _FAILURE_CHARACTERS)}" for reason, titles in shown]
    rest = len(failures) - sum(len(titles) for _reason, titles in shown)
    return " ".join([*said, f"And {rest} more."] if rest else said)


def _listed(titles: list[str]) -> str:
    rest = len(titles) - _TITLES_SHOWN
    return ", ".join(titles[:_TITLES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_EXHAUSTED = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@contextlib.contextmanager
def host_errors() -> t.Iterator[None]:
    """Turn MemoryError and a lack of threads into HostExhausted, and OSError into HostExhausted or an error of the store."""
    try:
        yield
    except MemoryError as error:
        raise HostExhausted(str(error) or "no memory is left") from error
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise HostExhausted(str(error)) from error
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise HostExhausted(str(error)) from error
        with store_errors("A call of the operating system failed" if error.filename is None else f"Using {error.filename!r}"):
            raise


@contextlib.contextmanager
def store_errors(doing: str) -> t.Iterator[None]:
    """Turn OSError into an error of the store. ``doing`` says what failed."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_ROOM:
            raise NoSpace(
                f"{doing}: {reason}.", "Make room, or back up to another directory; earlier backups are as they were."
            ) from error
        raise _kind_of(error)(
            f"{doing}: {reason}.", "Check the directory's owner, its mode and the disk; earlier backups are as they were."
        ) from error


def _kind_of(error: OSError) -> type[StoreFailed]:
    if isinstance(error, FileNotFoundError):
        return FileMissing
    return FileForbidden if isinstance(error, PermissionError) else StoreFailed

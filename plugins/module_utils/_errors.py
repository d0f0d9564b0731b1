# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""What can go wrong, by name.

Each error carries a stable ``code`` for playbooks, and a text of two parts: the problem (the thing and the cause, in the
words of the tool that met it) and the remedy (what to do next).
"""

from __future__ import annotations

import contextlib
import errno
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._text import bounded


class BackupError(Exception):
    """Anything that a user or the world can cause. Reported as the module's failure, never as a traceback."""

    code = "backup_failed"

    def __init__(self, problem: str, remedy: str, **details: t.Any) -> None:
        ended = problem if problem.endswith((".", "!", "?")) else f"{problem}."  # a tool's own words may be its end
        super().__init__(f"{ended} {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.details = details

    def as_result(self) -> dict[str, t.Any]:
        """Return what a module reports as ``error``: the code, and details such as a program's exit status."""
        return {"code": self.code, **self.details}


class ArgumentInvalid(BackupError):
    """An option's value makes no sense, or does not go with another option."""

    code = "argument_invalid"


class Unexpected(BackupError):
    """Something happened that the collection does not know."""

    code = "unexpected"

    def __init__(self, words: str, where: str) -> None:
        super().__init__(
            f"Something happened that this collection does not know, in {where}: {words}",
            "Earlier backups are as they were. Report it, with the traceback (ANSIBLE_DISPLAY_TRACEBACK=error, or -vvv before "
            "ansible-core 2.19).",
            where=where,
        )


class Interrupted(BackupError):
    """The run was told to stop by a signal."""

    code = "interrupted"


class HostExhausted(BackupError):
    """The host gives us no memory, no thread or no process."""

    code = "host_exhausted"

    def __init__(self, words: str) -> None:
        super().__init__(
            f"The host gave out: {words}.",
            "See its memory, and how many processes and open files the user or the service may have (ulimit -u -n, TasksMax); "
            "then run again.",
        )


class LibraryMissing(BackupError):
    """A Python library is not installed on the host."""

    code = "library_missing"


class ProgramMissing(BackupError):
    """A program is not installed on the host, or none of its versions fits."""

    code = "program_missing"


class ProgramFailed(BackupError):
    """A program could not be started, or ended with a status other than 0."""

    code = "program_failed"


class ProgramTimeout(BackupError):
    """A program took longer than it was given."""

    code = "timeout"


class ConnectionFailed(BackupError):
    """A server can't be reached, or sent the connection away."""

    code = "connection_failed"


class AuthenticationFailed(ConnectionFailed):
    """A server does not accept who we say we are."""

    code = "authentication_failed"


class HostNotFound(ConnectionFailed):
    """A host's name has no address."""

    code = "host_not_found"


class ConnectionRefused(ConnectionFailed):
    """Nobody listens at the address."""

    code = "connection_refused"


class ConnectionTimeout(ConnectionFailed):
    """A server took too long to answer."""

    code = "connection_timeout"


class ConnectionLost(ConnectionFailed):
    """A connection that stood was cut."""

    code = "connection_lost"


class ConnectionPooled(ConnectionFailed):
    """A pooler hands the server's sessions on to others between transactions."""

    code = "connection_pooled"


class BannerMissing(ConnectionFailed):
    """Whoever listens at the address does not speak SSH."""

    code = "no_ssh_banner"


class ServerInvalid(ConnectionFailed):
    """A server sent what the protocol does not have."""

    code = "server_invalid"


class HostKeyUnknown(ConnectionFailed):
    """Nothing says that the server's host key is the right one."""

    code = "host_key_unknown"


class HostKeyChanged(ConnectionFailed):
    """The server's host key is another one than the one known."""

    code = "host_key_changed"


class HostKeyRevoked(ConnectionFailed):
    """The server's host key was revoked."""

    code = "host_key_revoked"


class KeyUnreadable(BackupError):
    """A private key can't be read, or is none."""

    code = "key_unreadable"


class PassphraseWrong(BackupError):
    """A private key does not open with the passphrase, or needs one."""

    code = "wrong_passphrase"


class SftpUnavailable(ConnectionFailed):
    """The server has no SFTP for this account."""

    code = "sftp_unavailable"


class QueryFailed(BackupError):
    """The database server refused a question."""

    code = "query_failed"


class DatabaseMissing(BackupError):
    """There is no such database."""

    code = "database_missing"


class DatabaseClosed(BackupError):
    """The database is there, but nobody may connect to it."""

    code = "database_closed"


class NameRefused(BackupError):
    """The database's name can't be handed to the database's own programs."""

    code = "name_refused"


class NotOwner(BackupError):
    """Only the owner of a database's file, or root, can copy it without harm."""

    code = "not_owner"


class SourceInvalid(BackupError):
    """What is to be backed up is not the database that it should be."""

    code = "source_invalid"


class SourceBusy(BackupError):
    """Somebody holds a lock on what is to be backed up."""

    code = "source_busy"


class ContentInvalid(BackupError):
    """A dump ended without an error, but is not whole."""

    code = "content_invalid"


class PayloadCorrupt(ContentInvalid):
    """A payload is not what its manifest says."""

    code = "payload_corrupt"


class BackupMissing(BackupError):
    """There is no such backup."""

    code = "backup_missing"


class NothingFound(BackupMissing):
    """Of the backups that were asked for there is none."""

    code = "nothing_found"


class DestinationUnusable(BackupError):
    """What is to be written has a name or a place that it can't have."""

    code = "destination_unusable"


class BackupAmbiguous(BackupError):
    """Backups of several groups fit what was asked for."""

    code = "backup_ambiguous"


class DatabaseExists(BackupError):
    """The database that is to be restored is there already."""

    code = "database_exists"


class DatabaseInUse(BackupError):
    """Somebody is connected to the database that is to be replaced."""

    code = "database_in_use"


class DatabaseLocked(BackupError):
    """Somebody holds a lock on the database that is to be replaced."""

    code = "database_locked"


class ExtensionUnavailable(BackupError):
    """The server does not allow an extension where a dump would have it."""

    code = "extension_unavailable"


class ServerReadOnly(BackupError):
    """The server takes no changes."""

    code = "server_read_only"


class ServerTooOld(BackupError):
    """The server is older than the dump."""

    code = "server_too_old"


class RolesMissing(BackupError):
    """The server lacks roles that a dump's owners and grants need."""

    code = "roles_missing"


class SeveralFailed(BackupError):
    """Several databases or backups failed; the code is the first one's."""

    def __init__(self, problem: str, remedy: str, first: BackupError) -> None:
        super().__init__(problem, remedy, **first.details)
        self.code = first.code


_FAILURES_SHOWN = 3
_TITLES_SHOWN = 5
_FAILURE_CHARACTERS = 400


def summary_of(failures: t.Sequence[tuple[str, str]]) -> str:
    """Return what failed, by title, and why, short enough to read: the same reason once, and the first few reasons."""
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


class NameConflict(BackupError):
    """A backup of the same name and of another content is there already."""

    code = "name_conflict"


class Locked(BackupError):
    """Another run holds what is needed."""

    code = "locked"


class StoreError(BackupError):
    """A store can't do what it was asked to; each way has a class of its own."""


class NoSpace(StoreError):
    """There is no room left where the backups live."""

    code = "no_space"


class LocksUnavailable(StoreError):
    """The file system takes no locks."""

    code = "locks_unavailable"


class DirectoryUnusable(StoreError):
    """The directory of backups is missing, is something else, or can't be used."""

    code = "directory_unusable"


class LastGoodRefused(BackupError):
    """What was to be deleted is the last good backup of its group."""

    code = "last_good_refused"


class DeleteFailed(BackupError):
    """Some of what was to be deleted could not be."""

    code = "delete_failed"


class DirectoryMissing(DirectoryUnusable):
    """The directory of backups does not exist."""

    code = "directory_missing"


class NotADirectory(DirectoryUnusable):
    """What should be the directory of backups is something else."""

    code = "not_a_directory"


class DirectoryNotWritable(DirectoryUnusable):
    """Nothing can be written to the directory of backups."""

    code = "directory_not_writable"


class ReadBackDiffers(BackupError):
    """What was written is read back as something else."""

    code = "read_back_differs"


class Inconclusive(BackupError):
    """A backup could not be judged, for lack of something that is not its fault."""

    code = "inconclusive"


class VerificationFailed(BackupError):
    """A backup is not good."""

    code = "verification_failed"


class StoreFailed(StoreError):
    """Reading or writing a file of the store failed."""

    code = "store_failed"


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_EXHAUSTED = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@contextlib.contextmanager
def host_errors() -> t.Iterator[None]:
    """Raise what Python says of a host without memory or threads as HostExhausted, and a failed system call as StoreFailed."""
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
    """Raise what the operating system says while we are ``doing`` something as an error of the store."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_ROOM:
            raise NoSpace(
                f"{doing}: {reason}.", "Make room, or back up to another directory; earlier backups are as they were."
            ) from error
        raise StoreFailed(
            f"{doing}: {reason}.", "Look at the directory's owner, its mode and the disk; earlier backups are as they were."
        ) from error

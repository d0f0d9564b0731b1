"""A directory on an SFTP server as a store of backups."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionFailed,
    DirectoryMissing,
    DirectoryNotWritable,
    DirectoryUnusable,
    FileForbidden,
    FileMissing,
    Interrupted,
    NoSpace,
    NotADirectory,
    StoreError,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import (
    LOCK_SECONDS,
    Capabilities,
    FileFacts,
    NewPayload,
    Step,
    Written,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.partials import check_size, publish, put_by_partial
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp import conversations, packets
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.connection import Connection, Stopping
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.packets import StatusError
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.session import Conversation, Session
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.settings import SftpSettings
from ansible_collections.lastgood.database.plugins.module_utils._stores.trial import PartialTrial

_POSIX_RENAME = b"posix-rename@openssh.com"
_STATVFS = b"statvfs@openssh.com"

_KINDS: dict[int, type[StoreFailed]] = {
    packets.PERMISSION_DENIED: FileForbidden,
    **dict.fromkeys(packets.MISSING, FileMissing),
}
_NEW_FILE = packets.FOR_WRITING | packets.CREATE | packets.EXCLUSIVE
_LISTING_TIMES = 10  # a whole listing may take this many times the timeout

Result = t.TypeVar("Result")


class SftpStore:
    """A directory on a server. It has the methods of the store's protocol, and those that an upload needs.

    ``stopping`` calls a function when the run is stopped, as Runner.stopping does.
    """

    # Not every server replaces a file in one step: OpenSSH does, others don't.
    capabilities = Capabilities(reads_cheaply=False, has_locks=False, replaces_atomically=False)

    def __init__(self, settings: SftpSettings, stopping: Stopping = lambda act: contextlib.nullcontext()) -> None:
        self.creates_directory = settings.create_directory
        self._settings = settings
        self._stopping = stopping
        self._connection: Connection | None = None
        self._opened: Session | None = None
        self._directory = settings.remote_directory.rstrip("/") or "/"
        self.location = _location(settings, self._directory)
        self.warnings: list[str] = []
        self._server: dict[str, t.Any] = {"server_version": None, "host_key": None}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._opened = None

    def steps(self) -> t.Iterator[Step]:
        """Yield the steps that open the session."""
        self._connection = connection = Connection(self._settings, self._stopping)
        yield "resolve", connection.resolve
        yield "connect", self._connect
        yield "host_key", self._check_host_key
        yield "authenticate", connection.authenticate
        yield "open_sftp", self._open

    @property
    def session(self) -> Session:
        """The session, which is opened at its first use."""
        if self._opened is None:
            try:
                for _name, step in self.steps():
                    step()
            except BaseException:
                self.close()
                raise
        if self._opened is None:
            raise AssertionError("the last step opens it")
        return self._opened

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            raise AssertionError("steps() come first")
        return self._connection

    @property
    def remembered(self) -> bool:
        """Whether a host key was added to the known ones, or in check mode would have been."""
        return self.connection.remembered

    def server_facts(self) -> dict[str, t.Any]:
        return self._server

    def trial(self) -> PartialTrial:
        return PartialTrial(self)

    def exists(self) -> bool:
        found = self._do(f"Examining {self.location}", conversations.is_directory(self._directory))
        if found is False:
            raise NotADirectory(f"{self.location} is not a directory.", "Name a directory.")
        return found is not None

    def ensure(self) -> None:
        """Make the directory and its missing parents, accessible only to their owner."""
        missing = [self._directory] if not self.exists() else []
        while missing and "/" in missing[-1].rstrip("/").lstrip("/"):
            above = missing[-1].rpartition("/")[0]
            if self._do(f"Examining {above}", conversations.is_directory(above)) is not None:
                break
            missing.append(above)
        for path in reversed(missing):
            self._do(f"Making the directory {path}", conversations.make_directory(path))

    def check(self) -> None:
        """Check only that the path is a directory: SFTP reports whether it is writable only when one writes."""
        self.exists()

    def path(self, name: str) -> str:
        return f"{self.location.rstrip('/')}/{name}"

    def staging(self) -> None:
        return None

    def bookkeeping(self) -> None:
        return None

    def names(self) -> list[str]:
        try:
            seconds = _LISTING_TIMES * self._settings.timeout
            return self.session.converse(conversations.list_directory(self._directory, seconds))
        except StatusError as error:
            if error.code in packets.MISSING:
                raise DirectoryMissing(f"The directory {self.location} does not exist.", "Make it, or name another.") from error
            raise DirectoryUnusable(
                f"The directory {self.location} can't be listed: {error.words}.", "Check its owner and its mode."
            ) from error

    def facts(self, name: str) -> FileFacts | None:
        return next(self.facts_of([name]))

    def facts_of(self, names: t.Iterable[str]) -> t.Iterator[FileFacts | None]:
        doing = f"Examining files in {self.location}"
        try:
            return iter(self.session.converse_all(conversations.facts_of_file(self._at(name)) for name in names))
        except StatusError as error:
            raise self._refused(doing, error, None) from error

    def read(self, name: str, limit: int) -> bytes | None:
        found = next(self.read_many([name], limit))
        if isinstance(found, StoreFailed):
            raise found
        return found

    def read_many(self, names: t.Iterable[str], limit: int) -> t.Iterator[bytes | StoreFailed | None]:
        names = list(names)
        found = self.session.converse_all(conversations.read_start(self._at(name), limit) for name in names)
        for name, data in zip(names, found):
            yield self._unread(name, data) if isinstance(data, StatusError) else data

    def _unread(self, name: str, error: StatusError) -> StoreFailed:
        kind = _KINDS.get(error.code, StoreFailed)
        failure = kind(f"Reading {self.path(name)}: {error.words}.", "Examine the file on the server.")
        failure.__cause__ = error
        return failure

    def drop_cache(self, name: str) -> None:
        """SFTP has no request for that."""

    def chunks(self, name: str, offset: int = 0) -> t.Generator[memoryview, None, None]:
        path = self.path(name)
        handle = self._do(f"Reading {path}", conversations.open_file(self._at(name), packets.FOR_READING))
        try:
            facts = self.facts(name)
            if facts is None:
                raise StoreFailed(f"Reading {path}: it is no regular file.", "Examine it on the server.")
            with contextlib.closing(conversations.read_all(self.session, path, handle, facts.size_bytes, offset)) as pieces:
                for data in pieces:
                    yield memoryview(data)
        except (StoreFailed, GeneratorExit):
            self._close_quietly(handle)
            raise
        self._do(f"Reading {path}", conversations.close_handle(handle))

    @contextlib.contextmanager
    def lock(self, seconds: float = LOCK_SECONDS) -> t.Iterator[None]:
        """Do nothing: SFTP has no locks. None is needed: a commit refuses to replace, and deleting twice is harmless."""
        yield

    def is_held(self, name: str) -> bool:
        return False

    def taken(self, name: str) -> bool:
        return self._do(f"Examining {self.path(name)}", conversations.look(self._at(name))) is not None

    def add(self, name: str, data: bytes) -> None:
        """Write a small file whole. Raises StoreFailed if the name is taken."""
        with self._partial(name, data) as partial:
            publish(self, partial, name, len(data))

    def replace(self, name: str, data: bytes, like: str | None = None) -> None:
        if not self._replaces(name, data):
            self._exchange(name, data)
        check_size(self, name, len(data))

    def _replaces(self, name: str, data: bytes) -> bool:
        """Replace a file in one step, and return whether the server did: some announce it, and always refuse it."""
        if _POSIX_RENAME not in self.session.extensions:
            return False
        with self._partial(name, data) as partial:
            names = packets.path_bytes(self._at(partial)) + packets.path_bytes(self._at(name))
            try:
                self.session.converse(conversations.extended(_POSIX_RENAME, names))
            except StatusError:
                self.remove(partial)
                return False
        return True

    def _exchange(self, name: str, data: bytes) -> None:
        """Replace a file on a server that can't do so in one step: rename the old one first, and delete it at the end."""
        aside = _partial_name(name)
        self.remove(aside)  # it does not exist: an account that may not delete is refused here, before it leaves a file
        with self._partial(name, data) as partial:
            if self.taken(name):
                self.rename(name, aside)
            try:
                self.rename(partial, name)
            except StoreFailed:
                if self.taken(aside):
                    self.rename(aside, name)
                raise
        self.remove(aside)

    @contextlib.contextmanager
    def _partial(self, name: str, data: bytes) -> t.Iterator[str]:
        """Write a small file under a unique name, for the caller to rename. Deletes the file if the caller fails."""
        partial = _partial_name(name)
        try:
            self.write(partial, data)
            yield partial
        except StoreError:
            with contextlib.suppress(StoreError):  # the account may have no right to delete
                self.remove(partial)
            raise

    def put(self, payload: NewPayload, before_chunk: t.Callable[[int], None], *, reads_back: bool) -> Written:
        return put_by_partial(self, payload, before_chunk, reads_back=reads_back)

    def write(self, name: str, data: bytes) -> None:
        """Write a small new file."""
        doing = f"Writing {self.path(name)}"
        handle = self._do(doing, conversations.open_file(self._at(name), _NEW_FILE), len(data))
        size = packets.SAFE_REQUEST_BYTES
        try:
            for offset in range(0, len(data), size):
                request = packets.write_request(handle, offset, memoryview(data)[offset : offset + size])
                self._do(doing, conversations.plain(request), len(data))
        finally:
            self._finish(doing, handle)

    def write_from(self, name: str, offset: int, chunks: t.Iterable[memoryview]) -> int:
        """Write to a file from ``offset`` on, create it if it does not exist, and return how many bytes were written."""
        doing = f"Writing {self.path(name)}"
        handle = self._do(doing, conversations.open_file(self._at(name), packets.FOR_WRITING | packets.CREATE), 1)
        try:
            written = conversations.write_all(self.session, handle, offset, chunks)
        except StatusError as error:
            refusal = self._refused(doing, error, self.session.write_bytes)  # while the bytes still take up space
            self._close_quietly(handle)
            raise refusal from error
        except (ConnectionFailed, Interrupted):
            raise
        except BackupError:  # of the chunks' source
            self._close_quietly(handle)
            raise
        self._finish(doing, handle)
        return written

    def _finish(self, doing: str, handle: bytes) -> None:
        """Flush a file to the server's disk, if the server supports that, and close it."""
        if conversations.FSYNC in self.session.extensions:
            try:
                self._do(doing, conversations.plain(conversations.flush_request(handle)), 1)
            except StoreError:
                self._close_quietly(handle)
                raise
        self._do(doing, conversations.close_handle(handle), 1)

    def _close_quietly(self, handle: bytes) -> None:
        """Close a file after another error, which is the one to report."""
        with contextlib.suppress(StatusError, ConnectionFailed):
            self.session.converse(conversations.close_handle(handle))

    def rename(self, name: str, new_name: str) -> None:
        """Rename a file. Raises StoreFailed if the new name is taken: no file is replaced."""
        self._do(f"Renaming {self.path(name)} to {new_name}", conversations.rename_file(self._at(name), self._at(new_name)))

    def remove(self, name: str) -> bool:
        return self._do(f"Deleting {self.path(name)}", conversations.remove_file(self._at(name)))

    def free_bytes(self) -> int | None:
        """Return the free space for the account, None if the server does not report it."""
        free = self._free()
        return None if free is None else free.bytes

    def _free(self) -> _Free | None:
        if _STATVFS not in self.session.extensions:
            return None
        arguments = packets.path_bytes(self._directory)
        try:
            reply = self.session.converse(conversations.extended(_STATVFS, arguments, packets.EXTENDED_REPLY))
        except StatusError:
            return None
        _block, fragment, _blocks, _free, available, files, _unused, free_files, _id, _flags, _longest = (
            reply.long() for _field in range(11)
        )
        return _Free(fragment * available, free_files if files else None)

    def _connect(self) -> None:
        self.connection.connect()
        self._note_server()

    def _check_host_key(self) -> None:
        warning = self.connection.check_host_key()
        self.warnings += [warning] if warning else []
        self._note_server()  # the search for a pinned key may have ended with another key of the server

    def _note_server(self) -> None:
        self._server = {"server_version": self.connection.server_version, "host_key": self.connection.host_key.line}

    def _open(self) -> None:
        self._opened = self.connection.open_sftp()

    def _at(self, name: str) -> str:
        return f"{self._directory.rstrip('/')}/{name}"

    def _do(self, doing: str, conversation: Conversation[Result], needed: int | None = None) -> Result:
        """Run a conversation, and raise the server's refusal as an error of the store."""
        try:
            return self.session.converse(conversation)
        except StatusError as error:
            raise self._refused(doing, error, needed) from error

    def _refused(self, doing: str, error: StatusError, needed: int | None) -> BackupError:
        """Return the error for a refusal; ``needed`` is how many bytes were to be written, None for no write."""
        if error.code == packets.PERMISSION_DENIED:
            kind = DirectoryNotWritable if needed is not None else FileForbidden
            return kind(f"{doing}: {error.words}.", "Check owner and mode on the server.")
        if needed is not None and (why := self._why_full(error, max(needed, 1))) is not None:
            return NoSpace(f"{doing}: {error.words}; {why}.", "Make room on the server; earlier backups are as they were.")
        other = _KINDS.get(error.code, StoreFailed)
        return other(f"{doing}: {error.words}.", "Check the directory on the server; earlier backups are as they were.")

    def _why_full(self, error: StatusError, needed: int) -> str | None:
        """Return why the disk or quota must be full, None if it is not.

        Most servers report both only as "failure", and the free space ignores quotas. If a file can be created but not
        filled, one of them is full.
        """
        if error.code in packets.FULL:
            return "the disk is full, or the account's quota is used up"
        if error.code != packets.FAILURE:
            return None
        free = self._free()
        if free is not None and free.bytes < needed:
            return f"{free.bytes} bytes are free"
        if free is not None and free.files == 0:
            return "no more files fit there"
        if not self._takes_a_small_file():
            return "nor does it take a small file, so that the disk is full, or the account's quota is used up"
        return None

    def _takes_a_small_file(self) -> bool:
        """Create a small file, and return False if it can be created but not filled."""
        name = _partial_name("lastgood-trial")
        try:
            handle = self.session.converse(conversations.open_file(self._at(name), _NEW_FILE))
        except StatusError:
            return True  # refused for another reason
        steps = [conversations.plain(packets.write_request(handle, 0, memoryview(bytes(self.session.write_bytes))))]
        if conversations.FSYNC in self.session.extensions:
            steps.append(conversations.plain(conversations.flush_request(handle)))
        try:
            for step in steps:
                self.session.converse(step)
            return True
        except StatusError as error:
            return error.code not in (packets.FAILURE, *packets.FULL)
        finally:
            self._close_quietly(handle)
            with contextlib.suppress(StatusError, ConnectionFailed):
                self.session.converse(conversations.remove_file(self._at(name)))


class _Free(t.NamedTuple):
    """The free space that a server reports: bytes, and the number of files, None if it does not count them."""

    bytes: int
    files: int | None


def _partial_name(name: str) -> str:
    """Return a unique name for a partial: without locks, another host may be writing the same file."""
    return f".{name}.{os.urandom(8).hex()}.partial"


def _location(settings: SftpSettings, directory: str) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    port = "" if settings.port == 22 else f":{settings.port}"
    below_home = "" if directory.startswith("/") else "/~/"
    return f"sftp://{settings.user}@{host}{port}{below_home}{directory}"

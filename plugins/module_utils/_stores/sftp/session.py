"""One channel of an SSH connection that speaks SFTP: many requests under way at once, and no answer trusted.

A conversation is a generator: it yields a request, and is sent the reply. Those of many files run concurrently, so that a
network's delay occurs once, not once for each file.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionLost,
    ConnectionTimeout,
    Interrupted,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.packets import (
    DATA,
    EXTENDED,
    EXTENDED_REPLY,
    INIT,
    NO_DATA,
    SAFE_REQUEST_BYTES,
    VERSION,
    Reply,
    Request,
    StatusError,
    checked,
    invalid,
    text,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.patience import Patience

Result = t.TypeVar("Result")
Conversation = t.Generator[Request, Reply, Result]


_LARGEST_REPLY = 1024 * 1024
_SSH_PACKET_BYTES = 32 * 1024 - 64  # most servers accept that at once; paramiko copies what exceeds it each time
_CONVERSATIONS = 64  # at a time, as in OpenSSH's own client


class Channel(t.Protocol):
    """The part of paramiko's channel that we use."""

    def send(self, data: bytes) -> int:
        """Send at least one byte, and return how many were sent; 0 when the channel is closed."""

    def recv(self, count: int) -> bytes:
        """Return at most ``count`` bytes, none at the end of the stream."""

    def close(self) -> object:
        """Close the channel."""


class Session:
    """An SFTP session. For one thread at a time."""

    def __init__(self, channel: Channel, patience: Patience, server: str) -> None:
        """Start the SFTP protocol. ``server`` is the server's name for messages."""
        self.patience = patience
        self._channel = channel
        self._guard = _ChannelErrors(patience, server)
        self._last = 0
        self._write(INIT, struct.pack(">I", 3))
        reply = self.read()
        if reply.kind != VERSION:
            raise invalid("no version of SFTP")
        reply.number()
        self.extensions: dict[bytes, bytes] = {}
        while not reply.at_end:
            name = reply.text()
            self.extensions[name] = reply.text()
        self.read_bytes, self.write_bytes = SAFE_REQUEST_BYTES, SAFE_REQUEST_BYTES
        if b"limits@openssh.com" in self.extensions:
            self._ask_limits()

    def close(self) -> None:
        self._channel.close()

    def converse(self, conversation: Conversation[Result]) -> Result:
        """Run one conversation to its end. Raises StatusError if the conversation does not catch it."""
        return self.converse_all([conversation])[0]

    def converse_all(self, conversations: t.Iterable[Conversation[Result]]) -> list[Result]:
        """Run many conversations concurrently, and return the result of each, in order."""
        results: list[Result | None] = []
        waiting: dict[int, tuple[int, Conversation[Result]]] = {}
        rest = iter(conversations)
        error: StatusError | None = None
        while True:
            while error is None and len(waiting) < _CONVERSATIONS and (new := next(rest, None)) is not None:
                results.append(None)
                error = self._advance(new, lambda new=new: next(new), len(results) - 1, results, waiting) or error  # type: ignore[misc]
            if not waiting:
                break
            reply = self.read()
            number = reply.number()
            if number not in waiting:
                raise invalid("an answer to a question that was not asked")
            place, going = waiting.pop(number)
            if error is None:
                error = self._advance(going, _step(going, reply), place, results, waiting)
        if error is not None:
            raise error
        return t.cast("list[Result]", results)

    def _advance(
        self,
        conversation: Conversation[Result],
        step: t.Callable[[], Request],
        place: int,
        results: list[Result | None],
        waiting: dict[int, tuple[int, Conversation[Result]]],
    ) -> StatusError | None:
        try:
            request = step()
        except StopIteration as end:
            results[place] = end.value
        except StatusError as error:
            return error
        else:
            waiting[self.send(request)] = (place, conversation)
        return None

    def send(self, request: Request) -> int:
        """Send a request, and return its number."""
        self._last = (self._last + 1) & 0xFFFFFFFF
        self._write(request.kind, struct.pack(">I", self._last) + request.body, request.data)
        return self._last

    def _ask_limits(self) -> None:
        try:
            reply = self.converse(ask(Request(EXTENDED, text(b"limits@openssh.com")), EXTENDED_REPLY))
        except StatusError:
            return
        reply.long()  # the largest packet
        self.read_bytes, self.write_bytes = _request_bytes(reply.long()), _request_bytes(reply.long())

    def _write(self, kind: int, body: bytes, data: memoryview = NO_DATA) -> None:
        head = struct.pack(">IB", 1 + len(body) + len(data), kind) + body
        room = max(0, _SSH_PACKET_BYTES - len(head))
        self._send(head + data[:room])
        for start in range(room, len(data), _SSH_PACKET_BYTES):
            self._send(bytes(data[start : start + _SSH_PACKET_BYTES]))

    def _send(self, data: bytes) -> None:
        while data:
            with self._guard:
                count = self._channel.send(data)
                if not count:
                    raise EOFError("the server closed the session")
            self.patience.progress(count)
            data = data[count:]

    def read(self) -> Reply:
        length, kind = struct.unpack(">IB", self._read_exactly(5))
        if not 1 <= length <= _LARGEST_REPLY:
            raise invalid(f"a packet of {length} bytes")
        body = self._read_exactly(length - 1)
        if kind != DATA:  # data counts by its bytes: a server could send them one by one
            self.patience.answered()
        return Reply(kind, body)

    def _read_exactly(self, count: int) -> bytes:
        pieces = []
        while count:
            with self._guard:
                piece = self._channel.recv(count)
                if not piece:
                    raise EOFError("the server closed the session")
            self.patience.progress(len(piece))
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


class _ChannelErrors:
    """Limits each wait, and raises the channel's errors as ours. A class for speed: every packet enters it."""

    def __init__(self, patience: Patience, server: str) -> None:
        self._patience = patience
        self._server = server

    def __enter__(self) -> None:
        self._patience.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: t.Any) -> None:
        self._patience.__exit__(kind, error, trace)
        if error is None or not isinstance(error, Exception) or isinstance(error, BackupError):
            return
        if self._patience.is_stopped:
            raise Interrupted(
                f"The run was ended before {self._server} answered; the last request may have been carried out.", "Run it again."
            ) from error
        if self._patience.has_run_out or isinstance(error, TimeoutError):
            raise ConnectionTimeout(
                f"{self._server} did not answer within {self._patience.seconds:g} seconds, or too slowly.",
                "Check the server and the network, or raise timeout.",
            ) from error
        raise ConnectionLost(
            f"The connection to {self._server} was cut: {str(error) or 'it was closed'}.",
            "Run it again; what is stored is as it was.",
        ) from error


def _request_bytes(largest: int) -> int:
    """Return how many bytes to read or write at once. Every server takes 32 KiB; a packet holds almost 256 KiB."""
    return max(SAFE_REQUEST_BYTES, min(largest, 255 * 1024))


def _step(conversation: Conversation[Result], reply: Reply) -> t.Callable[[], Request]:
    def step() -> Request:
        try:
            answer = checked(reply)
        except StatusError as error:
            return conversation.throw(error)
        return conversation.send(answer)

    return step


def ask(request: Request, kind: int) -> Conversation[Reply]:
    """Send a request that has one kind of answer."""
    reply = yield request
    if reply.kind != kind:
        raise invalid("another answer than was asked for")
    return reply

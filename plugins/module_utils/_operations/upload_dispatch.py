"""Send backups over several connections at the same time, within one limit of bytes per second."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionFailed,
    Interrupted,
    host_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.upload_plan import PlannedUpload
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store, Written

_POLL_SECONDS = 0.2

Send = t.Callable[[Store, PlannedUpload], Written]


@dataclass
class Sent:
    """The uploads that succeeded and those that failed, by file name."""

    uploaded: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    failures: dict[str, BackupError] = field(default_factory=dict)
    bytes: int = 0


def interrupted() -> Interrupted:
    """Return the error of a run that was stopped."""
    return Interrupted("The run was ended before all of it was sent.", "Run it again: it continues what was begun.")


class Dispatch:
    """Distributes uploads over connections, each with its own thread, and records the outcomes in ``sent``."""

    def __init__(self, uploads: t.Sequence[PlannedUpload], send: Send, is_stopped: t.Callable[[], bool], sent: Sent) -> None:
        self._count = len(uploads)
        self._rest = iter(uploads)
        self._send = send
        self._is_stopped = is_stopped
        self._sent = sent
        self._guard = threading.Lock()

    def run(self, first: Store, connect: t.Callable[[], Store], connections: int) -> None:
        """Send over that many connections, the first of which is open. A failure of one does not stop the others."""
        count = min(connections, self._count)
        if not count:
            return
        with contextlib.ExitStack() as stack:
            others = [stack.enter_context(contextlib.closing(connect())) for _number in range(count - 1)]
            with concurrent.futures.ThreadPoolExecutor(count) as pool:
                for future in [pool.submit(self._work, store) for store in (first, *others)]:
                    future.result()
        sent = self._sent
        sent.failures.update((upload.backup.name.filename, interrupted()) for upload in self._rest)
        sent.uploaded.sort()
        sent.resumed.sort()

    def _work(self, store: Store) -> None:
        """Send over one connection until nothing is left, or the run is stopped."""
        while not self._is_stopped():
            with self._guard:
                upload = next(self._rest, None)
            if upload is None:
                return
            name, sent = upload.backup.name.filename, self._sent
            try:
                with host_errors():
                    written = self._send(store, upload)
            except BackupError as error:
                with self._guard:
                    sent.failures[name] = interrupted() if self._is_stopped() else error
                if isinstance(error, ConnectionFailed):
                    store.close()  # the next upload opens it anew
            else:
                with self._guard:
                    sent.uploaded.append(name)
                    sent.bytes += written.bytes
                    sent.resumed += [name] if written.resumed else []


class Throttle:
    """Limits the bytes per second of all threads together."""

    def __init__(self, bytes_per_second: int | None, is_stopped: t.Callable[[], bool]) -> None:
        self._rate = bytes_per_second
        self._is_stopped = is_stopped
        self._guard = threading.Lock()
        self._next = time.monotonic()

    def take(self, count: int) -> None:
        """Wait until ``count`` bytes may be sent. Raises Interrupted when the run is stopped."""
        if self._is_stopped():
            raise interrupted()
        if self._rate is None or not count:
            return
        with self._guard:
            begins = max(self._next, time.monotonic())
            self._next = begins + count / self._rate
        while (seconds := begins - time.monotonic()) > 0 and not self._is_stopped():
            time.sleep(min(seconds, _POLL_SECONDS))

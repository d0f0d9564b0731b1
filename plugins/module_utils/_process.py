"""Run a program, stream its output, and check every exit status.

A ``Runner`` starts every program, so that this file needs neither Ansible nor subprocess. Data travels through our own pipes,
which a program opens as ``/dev/fd/N``: the runner keeps standard output and standard error in memory, which is too small for a
dump, or for the messages of a program that runs hostile SQL. Only the beginning and the end of standard error are retained.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import threading
import time
import types
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    HostExhausted,
    ProgramFailed,
    ProgramMissing,
    ProgramTimeout,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import PIPE_PAUSE_SECONDS, pipe, read_full, write_all
from ansible_collections.lastgood.database.plugins.module_utils._text import bounded

_EXHAUSTED = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
KILL_AFTER_SECONDS = 5.0  # a program that was asked to end has this long
_POLL_SECONDS = 0.02
_ENDED = (b"Z", b"X")  # states of a process in proc(5)
_WORDS_BYTES = 64 * 1024  # of standard error, retained from its beginning and from its end
_QUIET_MILLISECONDS = (
    1000  # to wait for more output of a program that has ended, if a process that it started still has its standard error open
)


class Process(t.Protocol):
    """The part of a running program's interface that this file uses; ``subprocess.Popen`` implements it."""

    pid: int
    stdout: t.Any
    stderr: t.Any

    def poll(self) -> int | None:
        """Return the exit status, None while the program runs."""


@dataclass(frozen=True)
class Completed:
    """The result of a program: its exit status (negative: the signal that ended it) and output."""

    exit_status: int
    stdout: bytes
    stderr: bytes


class Runner(t.Protocol):
    """Starts programs for us."""

    def find_program(self, name: str) -> str | None:
        """Return the path of the program of that name, None if PATH has none."""

    def run(
        self,
        command: t.Sequence[str],
        *,
        environment: t.Mapping[str, str],
        pass_fds: t.Sequence[int],
        started: t.Callable[[Process], None],
        directory: str | None = None,
    ) -> Completed:
        """Run a program to its end, in ``directory`` if one is given, and return its result.

        Calls ``started`` as soon as it runs. Raises OSError if it can't be started; then ``started`` is never called.
        """

    def is_stopped(self) -> bool:
        """Return whether the run was stopped: every program is ended then, and work raises Interrupted at its next step."""

    def stopping(self, act: t.Callable[[], object]) -> t.ContextManager[None]:
        """Call ``act`` once, from another thread, if the run is stopped while the context is open; at once if it was before.

        For work that ending programs does not end: a query, a socket, a copy. Leaving waits for an act that was begun.
        """


@dataclass(frozen=True)
class Command:
    """A program with its arguments, its environment and its limit of time.

    ``environment`` is added to our own, ``descriptors`` stay open for it, None for ``seconds`` is no limit. ``directory`` is its
    working directory, for a user who may not enter ours. ``reportable`` selects the part of its error output that may be
    reported. ``prepare`` is called in the thread that starts it, so that the program inherits the thread's restrictions.
    ``name`` is the program's in messages, where another one starts it.
    """

    arguments: tuple[str, ...]
    environment: t.Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    seconds: float | None = None
    directory: str | None = None
    reportable: t.Callable[[str], str] = str
    prepare: t.Callable[[], None] = lambda: None
    name: str | None = None

    @property
    def program(self) -> str:
        return os.path.basename(self.arguments[0]) if self.name is None else self.name


class _Words:
    """The beginning and the end of a program's standard error, read by a thread of its own.

    A context manager: leaving it waits until everything is read.
    """

    def __init__(self) -> None:
        self._beginning = bytearray()
        self._end = bytearray()
        self._left_out = 0
        self._descriptor: int | None = None
        self._taken = threading.Event()
        self._is_last = threading.Event()
        self._thread = threading.Thread(target=self._read, name="words", daemon=True)

    def __enter__(self) -> _Words:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_last.set()
        self._taken.set()
        self._thread.join()

    def take_from(self, process: Process) -> None:
        self._descriptor = _take_over(process.stderr)
        self._taken.set()

    def all(self) -> bytes:
        cut = b" [%d bytes are left out] " % self._left_out if self._left_out else b""
        return bytes(self._beginning) + cut + bytes(self._end)

    def _read(self) -> None:
        self._taken.wait()
        if self._descriptor is None:  # the program never started
            return
        try:
            while chunk := self._next(self._descriptor):
                self._add(chunk)
            self._shorten()
        finally:
            os.close(self._descriptor)

    def _next(self, descriptor: int) -> bytes:
        """Return the next bytes, none at the end. Does not wait for a process that outlives the program with the pipe open."""
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while True:
            is_last = self._is_last.is_set()
            if waiting.poll(_QUIET_MILLISECONDS):
                return os.read(descriptor, _WORDS_BYTES)
            if is_last:
                return b""

    def _add(self, chunk: bytes) -> None:
        room = _WORDS_BYTES - len(self._beginning)
        self._beginning += chunk[:room]
        self._end += chunk[room:]
        if len(self._end) > 2 * _WORDS_BYTES:
            self._shorten()

    def _shorten(self) -> None:
        excess = max(0, len(self._end) - _WORDS_BYTES)
        del self._end[:excess]
        self._left_out += excess


def _take_over(stream: t.Any) -> int:
    """Take a pipe's descriptor, and give the runner an empty file instead: it would keep all output in memory."""
    descriptor = os.dup(stream.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, stream.fileno(), inheritable=False)
    os.close(nothing)
    return descriptor


class RunningProgram:
    """A running program, with a thread that waits for its end.

    A context manager: leaving it waits for the program's end. Leaving it with an exception ends the program.
    """

    def __init__(self, runner: Runner, command: Command, *, owned: t.Sequence[int] = (), take_output: bool = False) -> None:
        """Prepare to run ``command``.

        The descriptors ``owned`` are the program's ends of our pipes: ours are closed once the program has its copies,
        and also if it never started, since the thread at the other end would wait for ever.
        With ``take_output`` the program's standard output is a pipe for us to read, see ``output``.
        """
        self.command = command
        self._runner = runner
        self._owned = list(owned)
        self._take_output = take_output
        self._output: int | None = None
        self._ready = threading.Event()
        self._guard = threading.Lock()
        self._process: Process | None = None
        self._words = _Words()
        self._outcome: Completed | BaseException = ProgramFailed(f"{command.program} was never run.", "Run it again.")
        self._stopped = False
        self._timed_out = False
        self._thread = threading.Thread(target=self._run, name=command.program, daemon=True)

    def __enter__(self) -> RunningProgram:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        if self._thread.is_alive() and kind is not None:
            self.stop()
        self._thread.join()
        if self._output is not None:
            os.close(self._output)
            self._output = None

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def output(self) -> int | None:
        """Return the descriptor to read the standard output from, None if the program never started."""
        self._ready.wait()
        return self._output

    def wait(self) -> Completed:
        """Wait for the program's end, and return its result. Raises ProgramFailed unless it ended with status 0."""
        self._thread.join()
        program, outcome = self.command.program, self._outcome
        if isinstance(outcome, OSError) and outcome.errno in _EXHAUSTED:
            raise HostExhausted(f"{program} can't be started: {outcome.strerror}") from outcome
        if isinstance(outcome, OSError):
            raise ProgramMissing(
                f"{self.command.arguments[0]} can't be run: {outcome.strerror}.",
                "Check the file and its mode, or install the program anew.",
            ) from outcome
        if isinstance(outcome, BaseException):
            raise outcome
        if self._timed_out:
            raise ProgramTimeout(
                f"{program} was ended after {self.command.seconds:g} seconds.", "See what holds it up, or raise the timeout."
            )
        if outcome.exit_status != 0:
            raise failure(self.command, outcome)
        return outcome

    def stop(self) -> None:
        """Ask the program to end, and kill it if it does not."""
        with self._guard:
            self._stopped = True
            family = self._ask_to_end()
        self._thread.join(KILL_AFTER_SECONDS)
        with self._guard:
            signal_family(family | self._family(), signal.SIGKILL)

    def kill(self) -> None:
        """End the program at once, and wait until it has ended.

        The processes that it started are killed first: the end of the first process of a PID namespace ends all others in it.
        """
        deadline = time.monotonic() + KILL_AFTER_SECONDS
        while self._thread.is_alive():
            with self._guard:
                self._stopped = True
                family = self._family()
                started = {pid for pid in family if self._process is not None and pid.number != self._process.pid}
                signal_family(started if started and time.monotonic() < deadline else family, signal.SIGKILL)
            self._thread.join(_POLL_SECONDS)

    def _ask_to_end(self) -> set[Pid]:
        family = self._family()
        signal_family(family, signal.SIGTERM)
        return family

    def _family(self) -> set[Pid]:
        return set() if self._process is None else family_of(self._process)

    def _run(self) -> None:
        timer: threading.Timer | None = None
        if self.command.seconds is not None:
            timer = threading.Timer(min(self.command.seconds, threading.TIMEOUT_MAX), self._expire)
            timer.daemon = True
            timer.start()
        try:
            with self._words:  # starts its thread before prepare takes rights away
                self.command.prepare()
                completed = self._runner.run(
                    self.command.arguments,
                    environment=self.command.environment,
                    pass_fds=self.command.descriptors,
                    started=self._started,
                    directory=self.command.directory,
                )
            self._outcome = replace(completed, stderr=self._words.all())
        except BaseException as error:  # raised again by wait(), in its caller's thread
            self._outcome = error
        finally:
            if timer is not None:
                timer.cancel()
            self._close_owned()
            self._ready.set()

    def _started(self, process: Process) -> None:
        with self._guard:
            self._process = process
            if self._stopped:
                self._ask_to_end()
        self._words.take_from(process)
        if self._take_output:
            self._output = _take_over(process.stdout)
        self._close_owned()
        self._ready.set()

    def _expire(self) -> None:
        self._timed_out = True
        self.stop()

    def _close_owned(self) -> None:
        while self._owned:
            os.close(self._owned.pop())


class Pid(t.NamedTuple):
    """A process, by its id and its start time: another process may have got the id since."""

    number: int
    began: bytes


def family_of(process: Process) -> set[Pid]:
    """Return a running program and the processes that it started, which may hold our pipe open."""
    if process.poll() is not None:
        return set()
    children: dict[int, list[Pid]] = {}
    found: list[Pid] = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        parent, pid = _process_at(int(entry)) or (0, None)
        if pid is not None:
            children.setdefault(parent, []).append(pid)
            found += [pid] if pid.number == process.pid else []
    for each in found:
        found += children.get(each.number, [])
    return set(found)


def signal_family(family: t.Iterable[Pid], number: int) -> None:
    """Send a signal to each of the processes that still runs."""
    for pid in family:
        found = _process_at(pid.number)
        if found is not None and found[1] == pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid.number, number)


def _process_at(number: int) -> tuple[int, Pid] | None:
    """Return a process's parent and itself, None if there is no such process or it has ended. See proc(5), /proc/pid/stat."""
    try:
        with open(f"/proc/{number}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()  # from the third on, since a program's name may contain anything
    except OSError:
        return None
    if fields[0] in _ENDED:  # its parent has not waited for it yet, and may never do so
        return None
    return int(fields[1]), Pid(number, fields[19])


def run(runner: Runner, command: Command) -> Completed:
    """Run a program whose output is short, and return its result. Raises ProgramFailed unless it ended with status 0."""
    with RunningProgram(runner, command) as running:
        return running.wait()


class Producer:
    """Reads what a program writes to its output file, which is our pipe."""

    def __init__(self, running: RunningProgram, descriptor: int) -> None:
        self._running = running
        self._descriptor = descriptor

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer with the program's output, and return the number of bytes: 0 at its end."""
        return read_full(self._descriptor, buffer, PIPE_PAUSE_SECONDS)

    def finish(self) -> None:
        """Wait for the program, after its last byte. Raises ProgramFailed unless it ended with status 0."""
        self._running.wait()

    def stop(self) -> None:
        """End the program from another thread. ``finish`` then raises ProgramFailed."""
        self._running.stop()


@contextlib.contextmanager
def producing(runner: Runner, command_for: t.Callable[[str, int], Command]) -> t.Iterator[Producer]:
    """Run a program that writes a file, and read that file while it is written.

    ``command_for`` gets the file's path and its descriptor, and returns the command. Leaving before the end ends the
    program: one that waits for something would not notice that nobody reads.
    """
    reading, writing = pipe()
    try:
        try:
            command = command_for(f"/dev/fd/{writing}", writing)
        except BaseException:
            os.close(writing)
            raise
        with RunningProgram(runner, command, owned=[writing]) as running:
            try:
                yield Producer(running, reading)
            finally:
                running.stop()
    finally:
        os.close(reading)


class Consumer:
    """Feeds a program through its input file, which is our pipe."""

    def __init__(self, running: RunningProgram, descriptor: int) -> None:
        self._running = running
        self._descriptor: int | None = descriptor

    def write(self, data: bytes | memoryview) -> None:
        """Pass on the next bytes. Drops them if the program has stopped reading: its exit status shows why."""
        if self._descriptor is not None:
            try:
                write_all(self._descriptor, data)
            except BrokenPipeError:
                self.close()

    def finish(self) -> Completed:
        """End the input, and wait for the program. Raises ProgramFailed unless it ended with status 0."""
        self.close()
        return self._running.wait()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextlib.contextmanager
def consuming(runner: Runner, command_for: t.Callable[[str, int], Command]) -> t.Iterator[Consumer]:
    """Run a program that reads a file, and write that file as it reads.

    ``command_for`` gets the file's path and its descriptor, and returns the command. Leaving without ``finish`` ends the
    program before it sees the end of its file, which it would take for the end of the data.
    """
    reading, writing = pipe()
    try:
        command = command_for(f"/dev/fd/{reading}", reading)
    except BaseException:
        os.close(reading)
        os.close(writing)
        raise
    with RunningProgram(runner, command, owned=[reading]) as running:
        consumer = Consumer(running, writing)
        try:
            yield consumer
        finally:
            running.stop()
            consumer.close()


def failure(command: Command, completed: Completed) -> ProgramFailed:
    """Return the error for a program that failed, with its error output."""
    program = command.program
    words = bounded(command.reportable(completed.stderr.decode("utf-8", "replace")).strip())
    status = completed.exit_status
    ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return ProgramFailed(
        f"{program} {ended}: {words or 'it said nothing.'}",
        "Mend what it says, and run again; earlier backups are as they were.",
        exit_status=status,
        program=program,
        stderr=words,
    )

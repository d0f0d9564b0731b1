"""Continue a run in the background, so that the play can show how far it is.

A module returns once, at its end. An action plugin therefore names a folder and a time to wait. The process that it started
forks: the child does the work, in a session of its own, which a lost connection does not end. If the child ends in time, its
parent returns its result, as if there had been no child. If not, the parent returns the progress, and the action plugin
reads the rest from the folder.

/tmp/.lastgood-<token>   0700; /tmp, since each user has it, also one without a home
    lock                 held for as long as the run is alive
    pid                  the process to signal while the lock is held
    progress             how far the run is, as the parent returns it
    result, errors       what the module printed
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._io import write_all
from ansible_collections.lastgood.database.plugins.module_utils._progress import Sink, UnderWay
from ansible_collections.lastgood.database.plugins.module_utils._stopping import STOPPING_SIGNALS
from ansible_collections.lastgood.database.plugins.module_utils._text import one_line

VARIABLE = "LASTGOOD_BACKGROUND"  # "<seconds to wait> <token>", in the environment of the module
UNDER_WAY = '{"lastgood_under_way": '  # begins the output of an unfinished run
NOTHING_YET = f"{UNDER_WAY}null}}\n"
_STAYS = 86400.0  # seconds for which the result of a run waits to be fetched
_ROOM = 1 << 23  # bytes, for the result of a run over very many backups
_pipes: list[int] = []
_REQUEST = re.compile(r"([0-9]{1,6}) ([0-9a-f]{32})")


class Request(t.NamedTuple):
    """The time to wait for the end of the run, and the folder to make."""

    seconds: float
    folder: str


def folder_of(token: str) -> str:
    """Return the folder of the run with that token."""
    return f"/tmp/.lastgood-{token}"


def take_request() -> Request | None:
    """Return the action plugin's request, and hide it from the programs that the run starts."""
    found = _REQUEST.fullmatch(os.environ.pop(VARIABLE, ""))
    return None if found is None else Request(float(found[1]), folder_of(found[2]))


def report_to(pipe: int) -> None:
    """Write the progress of this process's run to a pipe, which the program ``lastgood`` reads: it runs modules in children."""
    _pipes.append(pipe)


def sinks() -> list[Sink]:
    """Return the sinks of this process's run, unless it continues in the background."""
    return [_writer(pipe) for pipe in _pipes]


def continue_in_background(request: Request) -> Sink:
    """Return in a child, with a sink for its progress. The parent never returns.

    For a process without threads, in which the signals that end a run are blocked. Raises OSError if the host can't do it:
    then nothing was begun.
    """
    folder = request.folder
    room = os.statvfs(os.path.dirname(folder))
    if room.f_bavail * room.f_frsize < _ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.path.dirname(folder))
    if shutil.which("flock") is None:  # with it the action plugin waits for the end
        raise FileNotFoundError(errno.ENOENT, "the program flock is not installed")
    _sweep()
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if os.lstat(folder).st_uid != os.geteuid():
            raise
        write_all(1, NOTHING_YET.encode())  # the connection plugin started us again; the first process does the work
        os._exit(0)
    try:
        outputs = [_create(folder, name) for name in ("result", "errors")]
        lock = _create(folder, "lock")
        fcntl.flock(lock, fcntl.LOCK_EX)  # the child holds it too, and does not release it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        child = os.fork()
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if child:
        _attend(child, request)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.setsid()
    for descriptor, stream in zip((os.open(os.devnull, os.O_RDONLY), *outputs), range(3)):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    return _reporter(folder)


def _sweep() -> None:
    """Delete this user's folders of runs that ended more than a day ago, whose results nobody fetched."""
    parent, prefix = os.path.split(folder_of(""))
    with os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(prefix) or not entry.is_dir(follow_symlinks=False):
                continue
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if found.st_uid == os.geteuid() and time.time() - found.st_mtime > _STAYS and not _is_alive(entry.path):
                    shutil.rmtree(entry.path)


def _is_alive(folder: str) -> bool:
    lock = os.open(os.path.join(folder, "lock"), os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _reporter(folder: str) -> Sink:
    """Return a sink that writes the run's progress. If that fails, the run continues."""

    def report(under_way: t.Sequence[UnderWay]) -> None:
        with contextlib.suppress(OSError):
            _replace(folder, "progress", _report(under_way))

    return report


def _writer(pipe: int) -> Sink:
    """Return a sink that writes the run's progress to a pipe. If nobody reads it, the run continues."""

    def report(under_way: t.Sequence[UnderWay]) -> None:
        with contextlib.suppress(OSError):
            write_all(pipe, _report(under_way).encode())

    return report


def _report(under_way: t.Sequence[UnderWay]) -> str:
    now = time.monotonic()
    tasks = [
        {
            "title": one_line(task.title),
            "seconds": now - task.began,
            "done_bytes": task.done_bytes,
            "expected_bytes": task.expected_bytes,
        }
        for task in under_way
    ]
    return f"{UNDER_WAY}{json.dumps({'seconds': now, 'tasks': tasks})}}}\n"


def _attend(child: int, request: Request) -> t.NoReturn:
    """Wait for the child, and exit with its result or its progress."""
    folder, status = request.folder, 0
    try:
        _replace(folder, "pid", f"{child}\n")
        ended = _wait(child, request.seconds)
        if ended is None:
            write_all(1, _content(folder, "progress") or NOTHING_YET.encode())
        else:
            status = ended
            write_all(2, _content(folder, "errors"))
            write_all(1, _content(folder, "result"))
            shutil.rmtree(folder)
    except OSError:  # nobody reads it any more: the folder stays, for a later connection
        status = 1
    finally:
        os._exit(status)  # temporary files are the child's, and it removes them


def _wait(child: int, seconds: float) -> int | None:
    """Return the child's exit status, None if it still runs. Passes on the signals that end a run, except SIGHUP."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        left = deadline - time.monotonic()
        received = signal.sigtimedwait({signal.SIGCHLD, *STOPPING_SIGNALS}, left) if left > 0 else None
        if received is None or received.si_signo == signal.SIGHUP:  # the connection was lost
            return None
        if received.si_signo != signal.SIGCHLD:
            os.kill(child, received.si_signo)


def _create(folder: str, name: str) -> int:
    """Return the descriptor of a new file for the user alone."""
    return os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)


def _replace(folder: str, name: str, text: str) -> None:
    """Write a small file whole: a reader finds the old one or the new one."""
    new = f"{name}.new"
    descriptor = _create(folder, new)
    try:
        write_all(descriptor, text.encode())
    finally:
        os.close(descriptor)
    os.replace(os.path.join(folder, new), os.path.join(folder, name))


def _content(folder: str, name: str) -> bytes:
    """Return a file's content, nothing if it does not exist."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""

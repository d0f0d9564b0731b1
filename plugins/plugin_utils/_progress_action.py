"""Run a module in the background of its host, and show its progress in the play.

Ansible executes the module and reads its result as usual. Only the command that executes the module differs: if the run goes on,
the command returns its progress. This action then shows a line and waits on the host, until the run has ended.
module_utils/_background.py is the host's side.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import time
import typing as t

from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display

from ansible_collections.lastgood.database.plugins.module_utils._background import NOTHING_YET, UNDER_WAY, VARIABLE, folder_of
from ansible_collections.lastgood.database.plugins.module_utils._progress_line import Reading, line, read

DEFAULT_SECONDS = 10
_PATIENCE = 600.0  # seconds for which a host may be out of reach while its run goes on
_PAUSE = 3.0  # seconds between two attempts to reach it
_FOR_PROGRAMS = {"json", "jsonl", "null", "oneline"}  # callbacks whose output programs read

_OPEN = "cd {folder} 2>/dev/null && [ -O . ] && ! [ -L {folder} ]"
_WAIT = (
    _OPEN + " && if flock -s -w {seconds} lock true; then cat errors >&2; cat result; "
    "else cat progress 2>/dev/null || printf '%s' '{nothing_yet}'; fi"
)
# A run that has just started may not have its folder yet.
_STOP = (
    "for try in 1 2 3 4 5; do if " + _OPEN + "; then "
    'flock -n -s lock true || kill -TERM "$(cat pid)"; flock -s -w 20 lock true; rm -rf {folder}; exit; fi; sleep 1; done'
)
_REMOVE = "rm -rf {folder}"


_LOST = {
    "failed": True,
    "msg": "The run ended without a result: it was killed, or the host restarted. Earlier backups are as they were. Search the "
    "host's log for that time (the out-of-memory killer, a restart), and run it again.",
    "error": {"code": "run_died"},
}

Executed = t.Mapping[str, t.Any]  # what a command on the host returned


class _Signalled(BaseException):
    """A signal ends the play."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class ProgressAction(NormalAction):
    """The action of a module that may take long."""

    _folder: str | None = None  # of the run on the host, None if it runs in the foreground
    _began = False  # whether a command was executed on the host

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> t.Any:
        run = super().run
        self._seconds = self._interval()
        if not self._seconds:
            return run(tmp, task_vars)  # type: ignore[no-untyped-call]
        token = secrets.token_hex(16)
        self._host = (task_vars or {}).get("inventory_hostname", "")
        self._folder = folder_of(token)
        self._task.environment.append({VARIABLE: f"{self._seconds} {token}"})
        try:
            with _signals_raise():
                return run(tmp, task_vars)  # type: ignore[no-untyped-call]
        except AnsibleConnectionFailure:
            raise  # the run goes on
        except BaseException as error:
            with _signals_wait(), contextlib.suppress(Exception):
                self._execute(_STOP)
            if isinstance(error, _Signalled):
                os.kill(os.getpid(), error.number)
                raise KeyboardInterrupt from error
            raise
        finally:
            self._task.environment.pop()

    def _interval(self) -> int:
        """Return the seconds between two lines, 0 for no lines. The module refuses a value that is not a number."""
        try:
            seconds = int(self._task.args.get("progress", DEFAULT_SECONDS))
        except (TypeError, ValueError):
            return 0
        task, callback = self._task, str(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")).rpartition(".")[2]
        if task.check_mode or task.async_val or task.no_log or callback in _FOR_PROGRAMS:
            return 0
        return max(0, min(seconds, 86400))

    def _low_level_execute_command(self, cmd: str, *arguments: t.Any, **named: t.Any) -> t.Any:
        """Execute a command on the host. For the one that executes the module, return its output after the run has ended."""
        execute = super()._low_level_execute_command
        if self._folder is None or VARIABLE not in cmd:
            finished = execute(cmd, *arguments, **named)
            self._began = True
            return finished
        try:
            result: Executed = execute(cmd, *arguments, **named)
        except AnsibleConnectionFailure:
            # The run may have begun before the connection was lost. A host that was never reached gets one more attempt.
            found = self._wait(_PATIENCE if self._began else 0)
            if found["rc"]:
                raise
            return self._follow(found)
        if _is_under_way(result):
            return self._follow(result)
        if not result["stdout"].strip():  # the process that waited for the run was killed, and the run may go on without it
            found = self._wait(0)
            return result if found["rc"] else self._follow(found)
        return result

    def _follow(self, result: Executed) -> Executed:
        """Show the run's progress until it has ended. Return its output."""
        before: Reading | None = None
        began = time.monotonic() - self._seconds
        while _is_under_way(result):
            reading = read(result["stdout"])
            if reading is None:
                self._show(f"{self._host}  has run for {time.monotonic() - began:.0f} s")
            else:
                self._show(line(self._host, reading, before))
            before = reading
            result = self._wait(_PATIENCE)
        if not result["stdout"].strip():
            result = {**result, "stdout": json.dumps(_LOST)}
        with contextlib.suppress(AnsibleConnectionFailure):
            self._execute(_REMOVE)
        return result

    def _wait(self, patience: float) -> t.Any:
        """Wait on the host until the run has ended or the next line is due. Return the output of either."""
        lost_at: float | None = None
        while True:
            try:
                return self._execute(_WAIT)
            except AnsibleConnectionFailure:
                now = time.monotonic()
                if lost_at is None:
                    lost_at = now
                    if patience:
                        self._show(f"{self._host}  connection lost, the run goes on; connecting again")
                if now - lost_at >= patience:
                    raise
            time.sleep(_PAUSE)
            with contextlib.suppress(Exception):
                self._connection.reset()

    def _execute(self, command: str) -> t.Any:
        """Execute one of our commands on the host, as the user who runs the module."""
        filled = command.format(folder=self._folder, seconds=self._seconds, nothing_yet=NOTHING_YET.strip())
        return super()._low_level_execute_command(filled, sudoable=True)

    def _show(self, text: str) -> None:
        Display().display(text)


def _is_under_way(result: Executed) -> bool:
    return any(text.startswith(UNDER_WAY) for text in result["stdout"].splitlines())


@contextlib.contextmanager
def _signals_raise() -> t.Iterator[None]:
    """Raise _Signalled on the signals that end a play, so that the run on the host can be ended before this process."""

    def end(number: int, frame: t.Any) -> t.NoReturn:
        raise _Signalled(number)

    with _handling(end):
        yield


@contextlib.contextmanager
def _signals_wait() -> t.Iterator[None]:
    """Ignore the signals that end a play: the run on the host is being ended."""
    with _handling(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handling(handler: t.Any) -> t.Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

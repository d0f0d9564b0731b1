"""The only file that uses AnsibleModule: it starts programs, stops runs, and ends the module."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
import stat
import threading
import traceback
import typing as t
from dataclasses import replace
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.lastgood.database.plugins.module_utils._background import continue_in_background, sinks, take_request
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    BackupError,
    Interrupted,
    LibraryMissing,
    StoreFailed,
    Unexpected,
    host_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._parameters import password_in
from ansible_collections.lastgood.database.plugins.module_utils._process import (
    KILL_AFTER_SECONDS,
    Completed,
    Pid,
    Process,
    family_of,
    signal_family,
)
from ansible_collections.lastgood.database.plugins.module_utils._progress import Progress
from ansible_collections.lastgood.database.plugins.module_utils._stopping import Stop, ignore_signals, stop_on_signals
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import PRIVATE, FileAttributes
from ansible_collections.lastgood.database.plugins.module_utils._text import escaped, lines, one_line, unescaped

_LARGEST_ID = 2**32 - 2  # to chown, the next one means "no change"
# Keys in a result whose values are texts for people: those of one line, and those of several.
_ONE_LINE = {"msg", "detail", "reason", "warnings", "problem", "remedy"}
_LINES = {"before", "after", "stderr", "exception"}
# Keys in a result whose values have keys that users chose.
_CHOSEN = {"labels"}
# Options that may be set to names from another module's result.
_NAMES = {"databases", "exclude_databases", "database", "source_database", "origin", "instance", "groups", "labels"}
_RUN_AGAIN = "Earlier backups are as they were; run it again."

Request = t.TypeVar("Request")
RequestFrom = t.Callable[[t.Mapping[str, t.Any], Context], t.ContextManager[Request]]  # from a module's options
Operation = t.Callable[[Request, Context], Outcome]


class ModuleRunner:
    """Starts programs by AnsibleModule.run_command, and can end all of them."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        module.run_command_environ_update = {"LC_ALL": "C"}  # errors are classified by programs' English messages
        self._guard = threading.Lock()
        self._running: set[Process] = set()
        self._stop = Stop()

    @property
    def signal(self) -> int | None:
        """The signal that stopped the run, None if none did."""
        return self._stop.signal

    def find_program(self, name: str) -> str | None:
        path: str | None = self._module.get_bin_path(name)
        return path

    def run(
        self,
        command: t.Sequence[str],
        *,
        environment: t.Mapping[str, str],
        pass_fds: t.Sequence[int],
        started: t.Callable[[Process], None],
        directory: str | None = None,
    ) -> Completed:
        running: list[Process] = []

        def note(process: Process) -> None:
            running.append(process)
            with self._guard:
                self._running.add(process)
            started(process)
            if self._stop:
                self._end(running)

        try:
            exit_status, stdout, stderr = self._module.run_command(
                list(command),
                check_rc=False,
                encoding=None,
                environ_update=dict(environment),
                expand_user_and_vars=False,
                handle_exceptions=False,
                cwd=directory,
                pass_fds=tuple(pass_fds),
                before_communicate_callback=note,
            )
        finally:
            with self._guard:
                self._running.difference_update(running)
        return Completed(exit_status, stdout, stderr)

    def is_stopped(self) -> bool:
        return bool(self._stop)

    def stopping(self, act: t.Callable[[], object]) -> t.ContextManager[None]:
        return self._stop.acting(act)

    def note_signal(self, number: int) -> None:
        self._stop.note(number)

    def stop_all(self, number: int | None = None) -> None:
        """Stop the run: end every program that runs, and each that is started after this. A second call changes nothing."""
        if self._stop.begin(number):
            with self._guard:
                running = tuple(self._running)
            self._end(running)

    def _end(self, processes: t.Iterable[Process]) -> None:
        """Ask programs to end, and kill those that do not."""

        def families() -> set[Pid]:
            return set().union(*map(family_of, processes))

        asked = families()
        signal_family(asked, signal.SIGTERM)
        timer = threading.Timer(KILL_AFTER_SECONDS, lambda: signal_family(asked | families(), signal.SIGKILL))
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # the host has no thread left
            timer.start()


def run_operation(module: AnsibleModule, request_from: RequestFrom[Request], operation: Operation[Request]) -> t.NoReturn:
    """Run an operation with the request that the module's options make, and end the module with its outcome."""
    progress = _progress(module)  # may move to the background: before any thread is started
    runner = ModuleRunner(module)
    outcome = _outcome_of(module, runner, progress, request_from, operation)
    ignore_signals()  # the outcome is known, and no program starts after this
    for warning in outcome.warnings:
        module.warn(one_line(warning))
    values, failure = presentable(outcome.values), outcome.failure
    if failure is None:
        try:
            module.exit_json(**values)
        except OSError as error:  # Ansible adds a destination's owner and mode to a result
            failure = StoreFailed(f"It was done, but {values.get('dest')} can't be examined: {error.strerror}.", "See the disk.")
            values.pop("dest", None)
    if module._verbosity == 0:
        values = {**values, **presentable(outcome.brief)}
    module.fail_json(**presentable(_failure_values(failure, runner.signal)), **values)


def _progress(module: AnsibleModule) -> Progress:
    """Return the progress of the run, and continue the run in the background if the action plugin asked for that."""
    request = take_request()
    if request is None:
        return Progress(*sinks())
    try:
        return Progress(continue_in_background(request))
    except OSError as error:
        cause = ": ".join(filter(None, (error.filename, error.strerror)))
        module.warn(one_line(f"No progress is shown, since the run can't be continued in the background: {cause}."))
        return Progress()


def _outcome_of(
    module: AnsibleModule,
    runner: ModuleRunner,
    progress: Progress,
    request_from: RequestFrom[Request],
    operation: Operation[Request],
) -> Outcome:
    try:
        with host_errors():
            stop_on_signals(runner.note_signal, runner.stop_all)
            _read_names(module.params)
            _read_password(module)
            _check_text(module.params)
            context = Context(runner, now, module.check_mode, progress)
            with request_from(module.params, context) as request:
                outcome = operation(request, context)
            return _with_diff(outcome) if module._diff else outcome
    except BackupError as error:
        return Outcome({}, failure=_interrupted_by(error) if runner.is_stopped() else error)
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        if runner.is_stopped():  # stopping closed a connection or a file that the work was using
            return Outcome({}, failure=Interrupted(f"The run was ended: {words}", _RUN_AGAIN))
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)}:{place.lineno}"
        return Outcome({"exception": traceback.format_exc()}, failure=Unexpected(words, where))


def _with_diff(outcome: Outcome) -> Outcome:
    if outcome.diff is None:
        return outcome
    return replace(outcome, values={**outcome.values, "diff": outcome.diff()})


def _interrupted_by(error: BackupError) -> BackupError:
    """Return the error that ends a stopped run: any failure after the stop is a consequence of it."""
    if error.code == Interrupted.code:
        return error
    return Interrupted(f"The run was ended: {error.problem}", _RUN_AGAIN)


def _failure_values(failure: BackupError, number: int | None) -> dict[str, t.Any]:
    message, error = _message(failure), failure.as_result()
    if failure.code == Interrupted.code and number is not None:
        message = f"{message} ({signal.Signals(number).name})"
        error["signal"] = number
    return {"msg": message, "error": error}


def presentable(value: t.Any, key: str = "") -> t.Any:
    """Return a result with every control character in it visible: a name must not move a terminal's cursor.

    Texts for people become one line; a diff and a program's output have several. Everything else may be a name, and is
    written so that ``_read_names`` reads it back.
    """
    if isinstance(value, str):
        return one_line(value) if key in _ONE_LINE else lines(value) if key in _LINES else escaped(value)
    if isinstance(value, t.Mapping):
        return {escaped(name): presentable(item, "" if key in _CHOSEN else name) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [presentable(item, key) for item in value]
    return value


def _read_names(params: dict[str, t.Any]) -> None:
    """Read the names in a module's options as results write them."""
    for option in _NAMES & params.keys():
        params[option] = _unescaped(params[option])


def _read_password(module: AnsibleModule) -> None:
    """Read the password from the file in ``login_password_file``, and set it as ``login_password``."""
    path = module.params.get("login_password_file")
    if path is None:
        return
    if module.params["login_password"] is not None:
        raise ArgumentInvalid("login_password and login_password_file are both given.", "Leave one of them out.")
    module.params["login_password"] = password_in(path, "login_password_file")
    module.no_log_values.add(module.params["login_password"])


def _unescaped(value: t.Any) -> t.Any:
    if isinstance(value, str):
        return unescaped(value)
    if isinstance(value, dict):
        return {key: _unescaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unescaped(item) for item in value]
    return value


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(timezone.utc)


def file_attributes(params: t.Mapping[str, t.Any]) -> FileAttributes:
    """Return owner, group and mode for the files that the module writes."""
    return FileAttributes(
        uid=_id(params["owner"], "owner", lambda name: pwd.getpwnam(name).pw_uid),
        gid=_id(params["group"], "group", lambda name: grp.getgrnam(name).gr_gid),
        mode=_mode(params["mode"]),
    )


def _check_text(params: t.Mapping[str, t.Any], within: str = "") -> None:
    """Raise ArgumentInvalid for an option with a null byte, or with a character that the host's locale can't encode."""
    for name, value in params.items():
        option = f"{within}{name}"
        if isinstance(value, dict):
            _check_text(value, f"{option}.")
            continue
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            if "\0" in text:
                raise ArgumentInvalid(f"{option} has a null byte in it.", "Take it out.")
            try:
                os.fsencode(text)
            except UnicodeEncodeError as error:
                raise ArgumentInvalid(
                    f"{option} has a character that the host's locale can't write.", "Run in a UTF-8 locale, or take it out."
                ) from error


def _message(error: BackupError) -> str:
    if isinstance(error, LibraryMissing):
        return f"{missing_required_lib(error.details['library'])}. {error}"
    return str(error)


def _id(name: str | None, option: str, look_up: t.Callable[[str], int]) -> int | None:
    if name is None:
        return None
    try:
        if name.isdecimal() and int(name) <= _LARGEST_ID:
            return int(name)
        return look_up(name)
    except KeyError as error:
        raise ArgumentInvalid(
            f"{option} is {name!r}, and the host knows no such {option}.", "Make it, or name another."
        ) from error


def _mode(mode: t.Any) -> int:
    if mode is None:
        return PRIVATE.mode
    if isinstance(mode, int) and not isinstance(mode, bool) and 0 <= mode <= 0o7777:
        return mode
    private = os.stat_result((stat.S_IFREG | PRIVATE.mode, *[0] * 9))
    try:
        if not isinstance(mode, str):
            raise ValueError("neither a number nor a text")
        octal: int = int(mode, 8) if mode.isdecimal() else AnsibleModule._symbolic_mode_to_octal(private, mode)
        if octal > 0o7777:
            raise ValueError("more than a file mode has")
        return stat.S_IMODE(octal)
    except ValueError as error:
        raise ArgumentInvalid(f"mode is {mode!r}, which is no file mode.", "Give one such as '0640' or 'g+r'.") from error

"""Runs a module in a child process, as another user if necessary, and returns its result.

The child is a fork, because a module ends its process, and so that the module's options, which may have a password, are in no
argument, environment variable or file. A signal that ends the program is passed on to the module, which stops as it does under
Ansible, and returns what it did.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import pwd
import selectors
import signal
import sys
import traceback
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._background import report_to
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, BackupError, host_errors
from ansible_collections.lastgood.database.plugins.module_utils._program.verbs import face
from ansible_collections.lastgood.database.plugins.module_utils._stopping import STOPPING_SIGNALS
from ansible_collections.lastgood.database.plugins.module_utils._text import lines

Result = dict[str, t.Any]
Watch = t.Callable[["Call", str], object]  # takes a call and its progress, which is "" at its end

_PIECE = 1 << 16
_INHERITED = {"LANG", "PATH", "TZ"}  # variables of the environment that another user inherits, with those that begin with LC_


@dataclass(frozen=True)
class Call:
    """A module to run, with its options. ``title`` names the source or the place in messages, "" for neither."""

    module: str
    options: t.Mapping[str, t.Any]
    title: str = ""
    user: str | None = None


@dataclass
class Caller:
    """Runs modules one after the other. ``signal`` is the signal that ended the program, None if none did."""

    program: str
    check_mode: bool = False
    diff: bool = False
    verbosity: int = 0
    watch: Watch | None = None
    signal: int | None = None
    _child: int | None = field(default=None, init=False)

    def __call__(self, call: Call, *, check_mode: bool | None = None) -> Result:
        """Return the result of a module. If the module can't be run, that is a failure."""
        try:
            with host_errors(), self._passing_on():
                status, output, errors = self._run(call, self.check_mode if check_mode is None else check_mode)
        except BackupError as error:
            return {"failed": True, "msg": str(error), "error": error.as_result()}
        return _result_of(status, output, errors)

    def _run(self, call: Call, check_mode: bool) -> tuple[int, bytes, bytes]:
        user = _entry_of(call.user)
        result, errors, reports = os.pipe(), os.pipe(), os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING_SIGNALS)
        try:
            self._child = os.fork()
            if not self._child:
                self._be_module(call, check_mode, user, (result[1], errors[1], reports[1]))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for _reading, writing in (result, errors, reports):
            os.close(writing)
        output = self._collect(call, result[0], errors[0], reports[0])
        if self.watch:
            self.watch(call, "")
        _pid, status = os.waitpid(self._child, 0)
        self._child = None
        return os.waitstatus_to_exitcode(status), *output

    def _collect(self, call: Call, result: int, errors: int, reports: int) -> tuple[bytes, bytes]:
        """Read what the child writes until it has ended. Return its result and its errors."""
        collected = {result: bytearray(), errors: bytearray(), reports: bytearray()}
        with selectors.DefaultSelector() as selector:
            for descriptor in collected:
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                for key, _events in selector.select():
                    piece = os.read(key.fd, _PIECE)
                    collected[key.fd] += piece
                    if not piece:
                        selector.unregister(key.fd)
                        os.close(key.fd)
                    elif key.fd == reports:
                        *whole, collected[key.fd][:] = collected[key.fd].split(b"\n")
                        if whole and self.watch:
                            self.watch(call, whole[-1].decode(errors="replace"))
        return bytes(collected[result]), bytes(collected[errors])

    @contextlib.contextmanager
    def _passing_on(self) -> t.Iterator[None]:
        """Pass the signals that end the program on to the child."""

        def note(number: int, _frame: t.Any) -> None:
            self.signal = self.signal or number
            if self._child:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._child, number)

        handled = [number for number in STOPPING_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, note) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _be_module(
        self, call: Call, check_mode: bool, user: pwd.struct_passwd | None, outputs: tuple[int, int, int]
    ) -> t.NoReturn:
        """Run the module in the child, and end the child in every case."""
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(outputs[0], 1)
            os.dup2(outputs[1], 2)
            # The parent's streams may have buffered output, which the child must not write.
            sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
            if user is not None:
                _become(user, self.program)
            for number in STOPPING_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, signal.SIG_DFL)
            report_to(outputs[2])
            _give_arguments(self._arguments(call, check_mode))
            face(call.module)()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        except BackupError as error:
            sys.stdout.write(json.dumps({"failed": True, "msg": str(error), "error": error.as_result()}))
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _arguments(self, call: Call, check_mode: bool) -> Result:
        return {
            **call.options,
            "_ansible_check_mode": check_mode,
            "_ansible_diff": self.diff,
            "_ansible_verbosity": self.verbosity,
            "_ansible_no_log": True,  # otherwise it would write the options to the host's log
            "_ansible_module_name": call.module,
        }


def _give_arguments(arguments: Result) -> None:
    """Pass the arguments to Ansible's module code as Ansible's wrapper does."""
    from ansible.module_utils import basic

    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    if hasattr(basic, "_ANSIBLE_PROFILE"):  # from ansible-core 2.19 on
        basic._ANSIBLE_PROFILE = "legacy"


def _entry_of(name: str | None) -> pwd.struct_passwd | None:
    """Return the entry of the user to become, None for the user that runs the program. Raises ArgumentInvalid."""
    if name is None:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise ArgumentInvalid(
            f"become_user is {name!r}, and the host knows no such user.", "Make it, or name another."
        ) from error
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise ArgumentInvalid(f"Only root can become {name!r}.", f"Run it as root, or as {name}.")
    return entry


def _become(user: pwd.struct_passwd, program: str) -> None:
    """Become another user for the rest of the process, without the terminal, into which that user could type for root."""
    os.setsid()
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    kept = {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("LC_")}
    os.environ.clear()  # as sudo does: the environment is the caller's
    os.environ.update(kept, HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    os.chdir("/")
    for path in (program, os.__file__):
        if not os.access(path, os.R_OK):
            path = os.path.realpath(path)  # the program may be open as /proc/self/fd/3
            raise ArgumentInvalid(
                f"{user.pw_name} can't read {path}, which the program needs.",
                "Put the program where every user can read it, such as /usr/local/bin, and run it with the system's Python.",
            )


def _result_of(status: int, output: bytes, errors: bytes) -> Result:
    """Return the result that a module printed, or a failure in its place."""
    for line in reversed(output.decode(errors="replace").splitlines()):
        with contextlib.suppress(ValueError):
            result = json.loads(line)
            if isinstance(result, dict):
                return result
    words = lines(errors.decode(errors="replace").strip())
    how = f"It was ended by signal {-status}." if status < 0 else f"Its exit status was {status}."
    return {
        "failed": True,
        "msg": f"The run ended without a result. {how} Earlier backups are as they were. Search the host's log for that time "
        f"(the out-of-memory killer), and run it again. {words}".strip(),
        "error": {"code": "run_died"},
    }

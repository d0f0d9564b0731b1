"""How modules run and end: real module processes, each a small script that ends by ``run_operation``."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import (
    ModuleRunner,
    file_attributes,
    now,
    presentable,
)
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import FILE_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, ProgramFailed
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, run
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import FileAttributes
from tests.support.arguments import patch_module_args

HANGS_AFTER_SECONDS = 120

# What a module's script begins with. Each test adds an operation, and the end runs it with the runner as its request.
BEGIN = """
import json, os, signal, sys, threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from ansible.module_utils.basic import AnsibleModule
from tests.support.arguments import patch_module_args
from ansible_collections.lastgood.database.plugins.module_utils import _ansible, _process, _stopping
from ansible_collections.lastgood.database.plugins.module_utils._ansible import run_operation
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError, Interrupted, LibraryMissing, NoSpace, ProgramFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Outcome
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, producing, run

ready = sys.argv[1]  # a named pipe: a program that runs tells its process id through it
SLEEPS = f'''
import os, signal, sys, time
if "ignores" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({ready!r}, "w").write(str(os.getpid()))
time.sleep(1000)
'''

def sleeping(*words):
    return lambda path, descriptor: Command(
        (sys.executable, "-I", "-S", "-c", SLEEPS, *words, path), descriptors=(descriptor,)
    )

def stream(runner, *words):
    with producing(runner, sleeping(*words)) as producer:
        count = producer.readinto(memoryview(bytearray(100)))
        producer.finish()
    return Outcome({"count": count})
"""
END = """
with patch_module_args(ARGUMENTS):
    spec = {
        "words": {"type": "list", "elements": "str"},
        "databases": {"type": "list", "elements": "str"},
        "secret": {"type": "str", "no_log": True},
        "inner": {"type": "dict", "options": {"secret": {"type": "str", "no_log": True}}},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    run_operation(module, lambda params, context: nullcontext(context.runner), lambda runner, context: operation(runner))
"""


class Module:
    """A module that runs, and the program that it runs."""

    def __init__(self, directory: Path, operation: str, arguments: dict[str, Any]) -> None:
        self._program: int | None = None
        self._ready = directory / "ready"
        os.mkfifo(self._ready)
        script = directory / "module.py"
        script.write_text(f"{BEGIN}\nARGUMENTS = {arguments!r}\n{operation}\n{END}", encoding="utf-8")
        self.process = subprocess.Popen(
            (sys.executable, script, self._ready),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def programs_pid(self) -> int:
        """Wait until the module's program runs, and return its process id."""
        found: list[int] = []
        reader = threading.Thread(target=lambda: found.append(int(self._ready.read_text())), daemon=True)
        reader.start()
        reader.join(HANGS_AFTER_SECONDS)
        if not found:
            self.process.kill()
            pytest.fail(f"no program was started: {self.process.communicate()}")
        self._program = found[0]
        return found[0]

    def end(self) -> dict[str, Any]:
        """Wait for the module's end, and return its result. It must be nothing but that, and agree with the exit status."""
        out, err = self.process.communicate(timeout=HANGS_AFTER_SECONDS)
        assert b"Traceback" not in out + err, (out + err).decode()
        result: dict[str, Any] = json.loads(out)
        assert self.process.returncode == (1 if result.get("failed") else 0)
        self._program = None
        return result

    def clear(self) -> None:
        """Leave nothing running, whatever became of the test."""
        for pid in (self._program, self.process.pid if self.process.poll() is None else None):
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Module]]:
    started = []

    def make(operation: str, **arguments: Any) -> Module:
        started.append(Module(tmp_path, operation, arguments))
        return started[-1]

    yield make
    for module in started:
        module.clear()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


# --- How a module ends -----------------------------------------------------------------------------------------


def test_a_result_is_the_modules_result_with_its_warnings(start: Callable[..., Module]) -> None:
    result = start("operation = lambda runner: Outcome({'changed': True, 'n': 1}, ['Mind the gap.'])").end()
    assert (result["changed"], result["n"]) == (True, 1)
    assert "Mind the gap." in str(result["warnings"])
    assert "failed" not in result


def test_an_error_is_the_modules_failure_with_its_code_and_details(start: Callable[..., Module]) -> None:
    result = start("def operation(runner): raise NoSpace('The disk is full.', 'Make room.', free=7)").end()
    assert result["failed"] is True
    assert result["msg"] == "The disk is full. Make room."
    assert result["error"] == {"code": "no_space", "free": 7}


def test_a_failure_beside_values_brings_them_along(start: Callable[..., Module]) -> None:
    operation = "operation = lambda runner: Outcome({'changed': True, 'n': 1}, ['Ah.'], NoSpace('Full.', 'Make room.'))"
    result = start(operation).end()
    assert (result["failed"], result["changed"], result["n"], result["error"]["code"]) == (True, True, 1, "no_space")
    assert "Ah." in str(result["warnings"])


def test_a_missing_library_is_named_with_the_python_that_lacks_it(start: Callable[..., Module]) -> None:
    result = start("def operation(runner): raise LibraryMissing('No way.', 'Install it.', library='psycopg2')").end()
    assert "psycopg2" in result["msg"]
    assert sys.executable in result["msg"]
    assert result["msg"].endswith("No way. Install it.")
    assert result["error"] == {"code": "library_missing", "library": "psycopg2"}


@pytest.mark.parametrize("greed", ["threading.stack_size(1 << 48); threading.Thread().start()", "bytearray(1 << 60)"])
def test_a_host_that_gives_no_thread_and_no_memory_is_no_traceback(start: Callable[..., Module], greed: str) -> None:
    result = start(f"def operation(runner): {greed}").end()
    assert result["error"] == {"code": "host_exhausted"}
    assert result["msg"].startswith("The host gave out: ")
    assert "TasksMax" in result["msg"]


def test_an_error_that_nobody_expected_is_json_with_a_code_and_its_place(start: Callable[..., Module]) -> None:
    module = start("def operation(runner): raise RuntimeError('a bug')")
    out, err = module.process.communicate(timeout=HANGS_AFTER_SECONDS)
    result = json.loads(out)
    assert result["error"]["code"] == "unexpected"
    assert result["error"]["where"].startswith("module.py:")
    assert "RuntimeError: a bug" in result["msg"]
    assert b"Traceback" not in err


def test_a_destination_that_ansible_can_t_examine_is_a_failure_of_what_was_done(start: Callable[..., Module]) -> None:
    module = start("""
def operation(runner):
    def refuse(values):
        if "dest" in values:
            raise OSError(5, "Input/output error")
        return values
    module.add_path_info = refuse
    return Outcome({"changed": True, "dest": "/a/file"})
""")
    result = module.end()
    assert (result["changed"], result["error"]) == (True, {"code": "store_failed"})
    assert result["msg"] == "It was done, but /a/file can't be examined: Input/output error. See the disk."


# In any other option Ansible itself stumbles over it, where it logs what a module was given.
@pytest.mark.parametrize(("option", "value"), [("words", ["a", "b\0"]), ("secret", "a\0b"), ("inner", {"secret": "a\0b"})])
def test_no_option_may_have_what_no_program_and_no_path_can_have(
    start: Callable[..., Module], option: str, value: str | list[str]
) -> None:
    result = start("operation = lambda runner: Outcome({})", **{option: value}).end()
    assert result["error"]["code"] == "argument_invalid"
    assert result["msg"] == f"{'inner.secret' if option == 'inner' else option} has a null byte in it. Take it out."


# --- How a run is stopped --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_interrupted_run_ends_its_program_and_says_so(start: Callable[..., Module], number: signal.Signals) -> None:
    module = start("operation = stream")
    pid = module.programs_pid()
    module.process.send_signal(number)
    result = module.end()
    assert result["failed"] is True
    assert result["error"] == {"code": "interrupted", "signal": int(number)}
    assert number.name in result["msg"]
    assert is_gone(pid)


def test_a_signal_that_was_ignored_from_the_start_stays_ignored(start: Callable[..., Module]) -> None:
    module = start("""
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
def operation(runner):
    os.kill(os.getpid(), signal.SIGHUP)
    return Outcome({"ended": False})
""")
    assert module.end()["ended"] is False


def test_a_program_that_ignores_sigterm_is_killed_when_the_run_is_interrupted(start: Callable[..., Module]) -> None:
    module = start("_process.KILL_AFTER_SECONDS = 0.1\noperation = lambda runner: stream(runner, 'ignores')")
    pid = module.programs_pid()
    module.process.terminate()
    assert module.end()["error"]["code"] == "interrupted"
    assert is_gone(pid)


IN_A_THREAD = """
def operation(runner):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(stream, runner, *WORDS).result()
"""


@pytest.mark.parametrize(("words", "kill_after"), [((), 1000.0), (("ignores",), 0.1)], ids=["that ends", "that ignores SIGTERM"])
def test_a_program_of_another_thread_is_ended_when_the_run_is_interrupted(
    start: Callable[..., Module], words: tuple[str, ...], kill_after: float
) -> None:
    module = start(f"_ansible.KILL_AFTER_SECONDS = {kill_after}\nWORDS = {words}{IN_A_THREAD}")
    pid = module.programs_pid()
    module.process.terminate()
    assert module.end()["error"]["code"] == "interrupted"
    assert is_gone(pid)


def test_a_program_that_is_started_after_the_interruption_is_ended_too(start: Callable[..., Module]) -> None:
    # A signal that we ignore would be ignored by the program as well: being ignored outlives the start of a program.
    module = start("""
def operation(runner):
    try:
        return stream(runner)
    except ProgramFailed:
        try:
            run(runner, Command((sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)")))
        except ProgramFailed as error:
            return Outcome({"status": error.details["exit_status"]})
""")
    module.programs_pid()
    module.process.terminate()
    assert module.end()["status"] == -signal.SIGTERM


def test_a_second_signal_does_not_disturb_the_cleaning_up(start: Callable[..., Module]) -> None:
    module = start("""
def operation(runner):
    try:
        return stream(runner)
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)
""")
    pid = module.programs_pid()
    module.process.terminate()
    assert module.end()["error"] == {"code": "interrupted", "signal": int(signal.SIGTERM)}
    assert is_gone(pid)


@pytest.mark.parametrize("failure", ["ProgramFailed('No pg_dump fits.', 'Install one.')", "ValueError('I/O on a closed file')"])
def test_what_fails_in_a_stopped_run_fails_because_of_the_signal(start: Callable[..., Module], failure: str) -> None:
    module = start(f"""
def operation(runner):
    os.kill(os.getpid(), signal.SIGTERM)
    while not runner.is_stopped():
        pass
    raise {failure}
""")
    result = module.end()
    assert result["error"] == {"code": "interrupted", "signal": int(signal.SIGTERM)}
    assert "SIGTERM" in result["msg"]
    assert failure.split("'")[1].rstrip(".") in result["msg"]


def test_work_that_ends_well_all_the_same_is_reported_as_it_ended(start: Callable[..., Module]) -> None:
    module = start("""
def operation(runner):
    os.kill(os.getpid(), signal.SIGTERM)
    while not runner.is_stopped():
        pass
    return Outcome({"changed": True})
""")
    result = module.end()
    assert (result.get("failed", False), result["changed"]) == (False, True)


def test_a_signal_ends_a_call_of_a_library_that_the_work_gave_a_way_to_end(start: Callable[..., Module]) -> None:
    # Like psycopg2's, the call starts anew after a signal, so that no handler of Python's would ever run.
    module = start("""
import ctypes
sem, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None, use_errno=True)

def operation(runner):
    libc.sem_init(sem, 0, 0)
    with runner.stopping(lambda: libc.sem_post(sem)):
        os.kill(os.getpid(), signal.SIGTERM)
        while libc.sem_wait(sem):
            pass
    raise Interrupted("The run was ended.", "Run it again.")
""")
    assert module.end()["error"]["code"] == "interrupted"


def test_a_signal_that_came_before_the_run_could_answer_stops_it(start: Callable[..., Module]) -> None:
    module = start("""
_stopping.hold_signals()
os.kill(os.getpid(), signal.SIGINT)

def operation(runner):
    raise Interrupted("It sees it.", "Run again.") if runner.is_stopped() else AssertionError
""")
    assert module.end()["error"] == {"code": "interrupted", "signal": int(signal.SIGINT)}


def test_a_signal_after_the_operation_does_not_disturb_the_report(start: Callable[..., Module]) -> None:
    module = start("""
class Warnings(list):
    def __iter__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return super().__iter__()

operation = lambda runner: Outcome({"changed": True}, Warnings(["Late."]))
""")
    result = module.end()
    assert "failed" not in result
    assert result["changed"] is True


# --- The runner ------------------------------------------------------------------------------------------------


def test_the_runner_finds_a_program_on_path(
    runner: ModuleRunner, shell_program: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = shell_program("a_program_of_ours", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert runner.find_program("a_program_of_ours") == path
    assert runner.find_program("none_of_that_name") is None


@pytest.mark.usefixtures("nothing_left")
def test_a_runner_that_was_stopped_ends_what_it_is_given(
    runner: ModuleRunner, bounded: Callable[[Callable[[], Any]], Any]
) -> None:
    runner.stop_all()
    with pytest.raises(ProgramFailed, match="was ended by signal 15"):
        bounded(lambda: run(runner, Command((sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)"))))


def test_now_is_in_utc() -> None:
    assert now().isoformat().endswith("+00:00")


# --- The attributes of files -----------------------------------------------------------------------------------


def attributes_of(**arguments: Any) -> FileAttributes:
    with patch_module_args(arguments):
        return file_attributes(AnsibleModule(argument_spec=FILE_SPEC).params)


def test_files_are_private_unless_asked_otherwise() -> None:
    assert attributes_of() == FileAttributes(uid=None, gid=None, mode=0o600)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("0640", 0o640),
        ("640", 0o640),
        (0o640, 0o640),  # what YAML makes of 0640 without quotes
        ("g+r", 0o640),
        ("u=rw,g=r,o=", 0o640),
        ("u-w", 0o400),
        ("02640", 0o2640),
    ],
)
def test_a_mode_is_a_number_or_changes_to_private(mode: Any, expected: int) -> None:
    assert attributes_of(mode=mode).mode == expected


@pytest.mark.parametrize("mode", ["rw", "0o640", "0888", "-1", -1, "99999", "77777", 1.5, True, ["0640"], {"u": "r"}])
def test_what_is_no_mode_is_refused(mode: Any) -> None:
    with pytest.raises(ArgumentInvalid, match=r"which is no file mode\. Give one such as '0640' or 'g\+r'"):
        attributes_of(mode=mode)


def test_owner_and_group_are_names_or_numbers() -> None:
    root = pwd.getpwuid(0)
    assert attributes_of(owner=root.pw_name, group=grp.getgrgid(0).gr_name) == FileAttributes(0, 0, 0o600)
    assert attributes_of(owner="65534", group=65533) == FileAttributes(65534, 65533, 0o600)


@pytest.mark.parametrize("option", ["owner", "group"])
@pytest.mark.parametrize("name", ["nobody_of_that_name", "", "-1"])
def test_an_unknown_owner_or_group_is_refused(option: str, name: str) -> None:
    with pytest.raises(ArgumentInvalid, match=f"{option} is '{name}', and the host knows no such {option}"):
        attributes_of(**{option: name})


EVIL = "a\x1b[2K\x9b\u202etxt.exe\nhost | SUCCESS"


def test_no_control_character_leaves_a_module_whoever_wrote_it(start: Callable[..., Module]) -> None:
    module = start(f"""
EVIL = {EVIL!r}
operation = lambda runner: Outcome(
    {{"backups": [{{"database": EVIL, "reason": EVIL, EVIL: [EVIL]}}], "diff": {{"before": EVIL, "before_header": EVIL}}}},
    [EVIL],
    ProgramFailed(EVIL, EVIL, stderr=EVIL, sessions=[EVIL]),
)
""")
    result = module.end()
    assert not {"\x1b", "\x9b", "\u202e"} & set("".join(flat(result)))
    name, text = r"a\x1b[2K\x9b\u202etxt.exe\x0ahost | SUCCESS", r"a\x1b[2K\x9b\u202etxt.exe | host | SUCCESS"
    assert result["backups"] == [{"database": name, "reason": text, name: [name]}]
    assert result["msg"] == f"{text}. {text}"
    assert result["error"]["sessions"] == [name]
    assert result["error"]["stderr"] == result["diff"]["before"] == text.replace(" | host", "\nhost")
    assert result["diff"]["before_header"] == name
    assert text in flat(result["warnings"])


def flat(value: Any) -> list[str]:
    """Return every text of a result."""
    if isinstance(value, dict):
        return [text for item in value.items() for text in flat(list(item))]
    return [text for item in value for text in flat(item)] if isinstance(value, list) else [str(value)]


def test_a_name_of_a_result_is_read_back_by_an_option(start: Callable[..., Module]) -> None:
    module = start(
        "operation = lambda runner: Outcome({'read': module.params['databases'] == ['a\\x1b', 'b']})",
        databases=[r"a\x1b", "b"],
    )
    assert module.end()["read"] is True


def test_a_name_that_is_no_utf_8_does_not_spoil_the_rest_of_a_result() -> None:
    assert presentable({"names": ["caf\udce9", "fine"], "count": 2}) == {"names": ["caf\\udce9", "fine"], "count": 2}

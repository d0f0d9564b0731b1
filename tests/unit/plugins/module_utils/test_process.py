"""Real programs, run by the real runner around a real AnsibleModule."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils import _process
from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    HostExhausted,
    ProgramFailed,
    ProgramMissing,
    ProgramTimeout,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES, pipe, read_full, write_all
from ansible_collections.lastgood.database.plugins.module_utils._process import (
    Command,
    Completed,
    Process,
    Producer,
    RunningProgram,
    consuming,
    producing,
    run,
)
from ansible_collections.lastgood.database.tests.support.observe import runs, wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")

Python = Callable[..., tuple[str, ...]]
Bounded = Callable[[Callable[[], Any]], Any]

PID_BYTES = 8
# Tells its process id as the first bytes of its output, then goes on as the test says.
SAY_PID = f"""
import os, signal, sys, time
output = open(sys.argv[1], "wb", buffering=0)
def say_pid():
    output.write(b"%0{PID_BYTES}d" % os.getpid())
"""
SLEEPS = SAY_PID + "say_pid(); time.sleep(1000)"
SLEEPS_THROUGH_SIGTERM = SAY_PID + "signal.signal(signal.SIGTERM, signal.SIG_IGN); say_pid(); time.sleep(1000)"
WRITES_FOR_EVER = SAY_PID + "say_pid()\nwhile True: output.write(bytes(65536))"


class Left(Exception):
    """Why a reader leaves in the middle."""


def producer_of(*arguments: str, **more: Any) -> Callable[[str, int], Command]:
    """Return the command that is told as its last argument where to write."""
    return lambda path, descriptor: Command((*arguments, path), descriptors=(descriptor,), **more)


def read_all(producer: Producer) -> bytes:
    buffer = memoryview(bytearray(CHUNK_BYTES))
    found = bytearray()
    while count := producer.readinto(buffer):
        found += buffer[:count]
    return bytes(found)


def read_pid(producer: Producer) -> int:
    buffer = memoryview(bytearray(PID_BYTES))
    assert producer.readinto(buffer) == PID_BYTES
    return int(bytes(buffer))


def output_of(runner: ModuleRunner, command_for: Callable[[str, int], Command]) -> bytes:
    with producing(runner, command_for) as producer:
        found = read_all(producer)
        producer.finish()
    return found


def is_gone(pid: int) -> bool:
    """Whether there is no such process, not even one that ended and was not waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def soon_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long for a program that ignores SIGTERM."""
    monkeypatch.setattr(_process, "KILL_AFTER_SECONDS", 0.05)


@pytest.fixture
def unstartable(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Return the path of something that is no program."""
    path = tmp_path / "no_program"
    if request.param == "a directory":
        path.mkdir()
    elif request.param != "missing":
        text = {"a script without its interpreter": "#!/nonexistent/interpreter\n"}.get(request.param, "Just words.\n")
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644 if request.param == "not executable" else 0o755)
    return str(path)


every_unstartable = pytest.mark.parametrize(
    "unstartable",
    ["missing", "not executable", "not of an executable format", "a script without its interpreter", "a directory"],
    indirect=True,
)


# --- A program that can't be started ---------------------------------------------------------------------------


@every_unstartable
def test_the_reader_of_a_program_that_never_started_sees_the_end_at_once(
    runner: ModuleRunner, unstartable: str, bounded: Bounded
) -> None:
    def read() -> bytes:
        with producing(runner, producer_of(unstartable)) as producer:
            return read_all(producer)

    assert bounded(read) == b""


@every_unstartable
def test_a_program_that_can_not_be_started_is_an_error_that_names_it_and_the_cause(
    runner: ModuleRunner, unstartable: str, bounded: Bounded
) -> None:
    with pytest.raises(ProgramMissing) as caught:
        bounded(lambda: output_of(runner, producer_of(unstartable)))
    assert caught.value.code == "program_missing"
    assert isinstance(caught.value.__cause__, OSError)
    assert unstartable in str(caught.value)
    assert str(caught.value.__cause__.strerror) in str(caught.value)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_host_that_lets_no_process_start_is_not_taken_for_one_that_lacks_the_program(
    runner: ModuleRunner, number: int, bounded: Bounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(HostExhausted, match=os.strerror(number)):
        bounded(lambda: run(runner, Command(("/bin/true",))))


@every_unstartable
def test_who_takes_the_output_of_a_program_that_never_started_gets_none(
    runner: ModuleRunner, unstartable: str, bounded: Bounded
) -> None:
    def take() -> int | None:
        with RunningProgram(runner, Command((unstartable,)), take_output=True) as running:
            return running.output()

    assert bounded(take) is None


def test_an_argument_that_no_program_can_have_does_not_hang_the_reader(
    runner: ModuleRunner, python: Python, bounded: Bounded
) -> None:
    with pytest.raises(ValueError, match=r"null (byte|character)"):
        bounded(lambda: output_of(runner, producer_of(*python("", "a\0b"))))


def test_a_command_that_can_not_be_made_leaves_nothing_open(runner: ModuleRunner) -> None:
    def command_for(path: str, descriptor: int) -> Command:
        raise Left

    with pytest.raises(Left), producing(runner, command_for):
        pass


# --- How a program ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7])
def test_every_byte_of_the_output_comes_through(runner: ModuleRunner, python: Python, bounded: Bounded, size: int) -> None:
    code = "import random, sys; open(sys.argv[2], 'wb').write(random.Random(7).randbytes(int(sys.argv[1])))"
    found = bounded(lambda: output_of(runner, producer_of(*python(code, str(size)))))
    assert found == random.Random(7).randbytes(size)


def test_a_read_is_short_only_at_the_end(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    code = "import sys\nwith open(sys.argv[1], 'wb', buffering=0) as output:\n  for _ in range(1000): output.write(b'123')"

    def read() -> list[int]:
        buffer = memoryview(bytearray(2000))
        with producing(runner, producer_of(*python(code))) as producer:
            counts = [producer.readinto(buffer) for _time in range(3)]
            producer.finish()
        return counts

    assert bounded(read) == [2000, 1000, 0]


@pytest.mark.parametrize("size", [0, 5, 3 * CHUNK_BYTES])
def test_the_exit_status_is_looked_at_after_the_last_byte(
    runner: ModuleRunner, python: Python, bounded: Bounded, size: int
) -> None:
    code = "import sys; open(sys.argv[2], 'wb').write(bytes(int(sys.argv[1]))); print('lost it', file=sys.stderr); sys.exit(3)"

    def read() -> None:
        with producing(runner, producer_of(*python(code, str(size)))) as producer:
            assert len(read_all(producer)) == size
            producer.finish()

    with pytest.raises(ProgramFailed) as caught:
        bounded(read)
    program = os.path.basename(python("")[0])
    assert caught.value.as_result() == {
        "code": "program_failed",
        "exit_status": 3,
        "program": program,
        "stderr": "lost it",
    }
    assert str(caught.value).startswith(f"{program} ended with status 3: lost it. Mend")


def test_a_program_that_a_signal_ended_has_failed(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    code = SAY_PID + "output.write(b'some'); os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(ProgramFailed, match=r"was ended by signal 9: it said nothing\.") as caught:
        bounded(lambda: output_of(runner, producer_of(*python(code))))
    assert caught.value.details["exit_status"] == -signal.SIGKILL


def test_a_program_whose_output_is_short_hands_it_over(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    command = Command(python("import sys; print('a'); print('b', file=sys.stderr)"))
    assert bounded(lambda: run(runner, command)) == Completed(0, b"a\n", b"b\n")


def test_the_first_and_the_last_of_ten_megabytes_of_words_are_kept_and_no_more(
    runner: ModuleRunner, python: Python, bounded: Bounded
) -> None:
    # They come before the first byte of the output: whoever reads only that would wait for ever.
    code = (
        "import sys; sys.stderr.write('the first words ' + 'x' * 10_000_000 + ' the last words\\n'); sys.stderr.flush()\n"
        "open(sys.argv[1], 'wb').write(bytes(3_000_000)); sys.exit(1)"
    )
    with pytest.raises(ProgramFailed, match=r"the last words\. Mend") as caught:
        bounded(lambda: output_of(runner, producer_of(*python(code))))
    assert caught.value.details["stderr"].startswith("the first words xxx")
    assert caught.value.details["stderr"].endswith("xxx the last words")
    assert 1000 < len(caught.value.details["stderr"]) <= 4000
    assert len(str(caught.value)) < 4200


def test_a_program_that_says_300_megabytes_costs_little_memory_and_no_time_that_grows_with_them(
    runner: ModuleRunner, python: Python, bounded: Bounded
) -> None:
    code = (
        "import sys; sys.stderr.write('the first words '); line = 'x' * 1_000_000 + '\\n'\n"
        "for _ in range(300): sys.stderr.write(line)\n"
        "sys.stderr.write('the last words'); sys.exit(1)"
    )
    begun = time.process_time()
    with pytest.raises(ProgramFailed) as caught:
        bounded(lambda: run(runner, Command(python(code), reportable=lambda words: words[:20] + str(len(words)) + words[-20:])))
    words = caught.value.details["stderr"]
    assert words.startswith("the first words xxxx") and words.endswith("the last words")
    assert int(re.sub("[^0-9]", "", words)) < 200_000
    assert time.process_time() - begun < 5


def test_who_has_the_words_pipe_of_a_program_that_ended_keeps_nobody_waiting(
    runner: ModuleRunner, python: Python, bounded: Bounded
) -> None:
    code = (
        "import subprocess, sys; sys.stderr.write('done')\n"
        "print(subprocess.Popen((sys.executable, '-c', 'import time; time.sleep(600)'), stdout=subprocess.DEVNULL).pid)"
    )
    completed = bounded(lambda: run(runner, Command(python(code))))
    os.kill(int(completed.stdout), signal.SIGKILL)
    assert completed.stderr == b"done"


def test_words_that_are_no_utf_8_are_kept_as_far_as_they_go(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    code = "import sys; sys.stderr.buffer.write(b'caf\\xe9 \\xff\\xfe broken'); sys.exit(1)"
    with pytest.raises(ProgramFailed, match=r"caf\ufffd \ufffd\ufffd broken\. Mend") as caught:
        bounded(lambda: output_of(runner, producer_of(*python(code))))
    assert json.loads(json.dumps(caught.value.as_result()))["stderr"] == "caf\ufffd \ufffd\ufffd broken"


def test_of_what_it_says_only_that_is_told_which_may_be(runner: ModuleRunner, python: Python) -> None:
    code = "import sys; sys.stderr.write('it failed\\nSTATEMENT: hunter2\\n'); sys.exit(1)"
    with pytest.raises(ProgramFailed, match="it failed") as caught:
        run(runner, Command(python(code), reportable=lambda words: words.partition("\n")[0]))
    assert "hunter2" not in str(caught.value.as_result()) + str(caught.value)


def test_it_speaks_english_whatever_the_user_does(runner: ModuleRunner, python: Python, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    assert run(runner, Command(python("import os; print(os.environ['LC_ALL'])"))).stdout == b"C\n"


# --- A reader that leaves early --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [SLEEPS, WRITES_FOR_EVER], ids=["sleeps", "writes"])
def test_a_program_is_ended_when_its_reader_leaves(runner: ModuleRunner, python: Python, bounded: Bounded, code: str) -> None:
    def leave() -> int:
        with producing(runner, producer_of(*python(code))) as producer:
            return read_pid(producer)

    assert is_gone(bounded(leave))


@pytest.mark.parametrize("code", [SLEEPS, WRITES_FOR_EVER], ids=["sleeps", "writes"])
def test_a_program_is_ended_when_its_reader_fails_and_the_readers_error_comes_out(
    runner: ModuleRunner, python: Python, bounded: Bounded, code: str
) -> None:
    pids = []

    def fail() -> None:
        with producing(runner, producer_of(*python(code))) as producer:
            pids.append(read_pid(producer))
            raise Left

    with pytest.raises(Left):
        bounded(fail)
    assert is_gone(pids[0])


@pytest.mark.usefixtures("soon_killed")
def test_a_program_that_ignores_sigterm_is_killed(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    def leave() -> int:
        with producing(runner, producer_of(*python(SLEEPS_THROUGH_SIGTERM))) as producer:
            return read_pid(producer)

    assert is_gone(bounded(leave))


@pytest.mark.usefixtures("soon_killed")
def test_a_stopped_program_is_killed(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    def leave() -> int:
        with producing(runner, producer_of(*python(SLEEPS))) as producer:
            pid = read_pid(producer)
            os.kill(pid, signal.SIGSTOP)
            return pid

    assert is_gone(bounded(leave))


def test_a_program_that_is_ended_may_clean_up_first(
    runner: ModuleRunner, python: Python, bounded: Bounded, tmp_path: Path
) -> None:
    cleaned = tmp_path / "cleaned"
    code = SAY_PID + (
        "def clean_up(*_):\n"
        f"  open({str(cleaned)!r}, 'w').close(); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, clean_up); say_pid(); time.sleep(1000)"
    )

    def leave() -> None:
        with producing(runner, producer_of(*python(code))) as producer:
            read_pid(producer)

    bounded(leave)
    assert cleaned.exists()


def test_a_program_that_is_told_to_end_before_it_runs_is_ended_as_soon_as_it_does(
    module: AnsibleModule, python: Python, bounded: Bounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_process, "KILL_AFTER_SECONDS", 0.0)
    told_to_end = threading.Event()

    class Slow(ModuleRunner):
        """Starts a program only after it was told to end."""

        def run(
            self,
            command: Sequence[str],
            *,
            environment: Mapping[str, str],
            pass_fds: Sequence[int],
            started: Callable[[Process], None],
            directory: str | None = None,
        ) -> Completed:
            told_to_end.wait()
            return super().run(command, environment=environment, pass_fds=pass_fds, started=started, directory=directory)

    def leave() -> None:
        with RunningProgram(Slow(module), Command(python("import time; time.sleep(1000)"))) as running:
            running.stop()
            told_to_end.set()
            running.wait()

    with pytest.raises(ProgramFailed, match="was ended by signal 15"):
        bounded(leave)


def test_the_end_of_one_program_is_seen_while_others_go_on(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    # If another had inherited its end of the pipe, the end would never come.
    def read() -> bytes:
        with contextlib.ExitStack() as stack:
            before = stack.enter_context(producing(runner, producer_of(*python(SLEEPS))))
            short = stack.enter_context(producing(runner, producer_of("/bin/sh", "-c", 'echo all >"$1"', "sh")))
            after = stack.enter_context(producing(runner, producer_of(*python(SLEEPS))))
            read_pid(before)
            read_pid(after)
            found = read_all(short)
            short.finish()
        return found

    assert bounded(read) == b"all\n"


# --- The timeout -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [SLEEPS, WRITES_FOR_EVER, SLEEPS_THROUGH_SIGTERM], ids=["sleeps", "writes", "ignores SIGTERM"])
@pytest.mark.usefixtures("soon_killed")
def test_the_timeout_ends_a_program(runner: ModuleRunner, python: Python, bounded: Bounded, code: str) -> None:
    pids = []

    def read() -> None:
        with producing(runner, producer_of(*python(code), seconds=0.5)) as producer:
            pids.append(read_pid(producer))
            buffer = memoryview(bytearray(CHUNK_BYTES))
            while producer.readinto(buffer):
                pass
            producer.finish()

    with pytest.raises(ProgramTimeout, match=r"was ended after 0\.5 seconds") as caught:
        bounded(read)
    assert caught.value.as_result() == {"code": "timeout"}
    assert is_gone(pids[0])


@pytest.mark.parametrize("code", [SLEEPS, SLEEPS_THROUGH_SIGTERM], ids=["sleeps", "ignores SIGTERM"])
@pytest.mark.usefixtures("soon_killed")
def test_the_timeout_ends_what_a_script_started(runner: ModuleRunner, python: Python, bounded: Bounded, code: str) -> None:
    pids = []

    def read() -> None:
        script = ("/bin/sh", "-c", '"$@"; exit 0', "sh", *python(code))
        with producing(runner, producer_of(*script, seconds=1)) as producer:
            pids.append(read_pid(producer))
            producer.readinto(memoryview(bytearray(1)))
            producer.finish()

    with pytest.raises(ProgramTimeout):
        bounded(read)
    wait_until(lambda: not runs(pids[0]))


def test_the_timeout_ends_a_program_whose_output_is_short(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    with pytest.raises(ProgramTimeout):
        bounded(lambda: run(runner, Command(python("import time; time.sleep(1000)"), seconds=0.2)))


@pytest.mark.filterwarnings("error")
def test_a_timeout_may_be_longer_than_the_system_can_wait(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    weeks = 999_999 * 7 * 24 * 3600.0
    assert bounded(lambda: run(runner, Command(python("print(1)"), seconds=weeks))).stdout == b"1\n"


def test_a_program_that_is_done_in_time_has_not_timed_out(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    assert bounded(lambda: run(runner, Command(python("print(1)"), seconds=1000))).stdout == b"1\n"


# --- What a program gets ---------------------------------------------------------------------------------------


def test_arguments_reach_a_program_as_they_are(
    runner: ModuleRunner, python: Python, bounded: Bounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/a/home")
    arguments = ["$HOME", "${HOME}", "~", "~/x", "--file=$HOME/x", "$(id)", "`id`", "a b", "", "'", '"', "*", "é\udcff", "\n"]
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    completed = bounded(lambda: run(runner, Command(python(code, *arguments))))
    assert json.loads(completed.stdout) == arguments


def test_the_environment_is_ours_and_what_is_added(
    runner: ModuleRunner, python: Python, bounded: Bounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LASTGOOD_OURS", "ours")
    monkeypatch.setenv("LASTGOOD_BOTH", "ours")
    code = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('LASTGOOD')}))"
    command = Command(python(code), environment={"LASTGOOD_BOTH": "added", "LASTGOOD_ADDED": "$HOME"})
    completed = bounded(lambda: run(runner, command))
    assert json.loads(completed.stdout) == {"LASTGOOD_OURS": "ours", "LASTGOOD_BOTH": "added", "LASTGOOD_ADDED": "$HOME"}
    assert "LASTGOOD_ADDED" not in os.environ


@pytest.fixture
def inheritable() -> Iterator[int]:
    """Hold a descriptor open that a careless start would hand on."""
    descriptor = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    yield descriptor
    os.close(descriptor)


def test_a_program_has_no_descriptors_but_those_it_is_to_have(
    runner: ModuleRunner, python: Python, bounded: Bounded, inheritable: int
) -> None:
    code = (
        "import json, os, sys\n"
        "numbers = [n for n in range(1024) if os.path.exists(f'/proc/self/fd/{n}')]\n"
        "open(sys.argv[1], 'w').write(json.dumps(numbers))"
    )
    passed = []

    def command_for(path: str, descriptor: int) -> Command:
        passed.append(descriptor)
        return Command((*python(code), path), descriptors=(descriptor,))

    assert json.loads(bounded(lambda: output_of(runner, command_for))) == [0, 1, 2, *passed]
    assert inheritable not in passed


def test_a_program_gets_a_descriptor_beside_its_pipe(runner: ModuleRunner, python: Python, bounded: Bounded) -> None:
    secret = os.memfd_create("secret")
    write_all(secret, b"in memory alone")
    code = "import sys; open(sys.argv[2], 'w').write(open(sys.argv[1]).read())"
    try:
        found = bounded(
            lambda: output_of(
                runner,
                lambda path, descriptor: Command(
                    (*python(code, f"/dev/fd/{secret}"), path),
                    descriptors=(descriptor, secret),
                ),
            )
        )
    finally:
        os.close(secret)
    assert found == b"in memory alone"


# --- Output that is taken from the runner ----------------------------------------------------------------------


def test_taken_output_is_ours_to_read_and_the_runner_has_none_of_it(
    runner: ModuleRunner, python: Python, bounded: Bounded
) -> None:
    code = "import sys; sys.stdout.buffer.write(bytes(3_000_000)); print('words', file=sys.stderr)"

    def take() -> tuple[int, Completed]:
        with RunningProgram(runner, Command(python(code)), take_output=True) as running:
            descriptor = running.output()
            assert descriptor is not None
            buffer = memoryview(bytearray(CHUNK_BYTES))
            total = 0
            while count := read_full(descriptor, buffer):
                total += count
            return total, running.wait()

    assert bounded(take) == (3_000_000, Completed(0, b"", b"words\n"))


# --- Small parts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_more_than_a_pipe_holds_is_written_and_read_whole(pause: float) -> None:
    reading, writing = pipe()
    content = os.urandom(3 * CHUNK_BYTES + 11)
    writer = threading.Thread(target=lambda: (write_all(writing, content), os.close(writing)))
    writer.start()
    buffer = memoryview(bytearray(len(content) + 100))
    try:
        assert read_full(reading, buffer, pause) == len(content)
    finally:
        writer.join()
        os.close(reading)
    assert bytes(buffer[: len(content)]) == content


class TestConsuming:
    def test_a_program_reads_what_it_is_fed(self, runner: ModuleRunner, python: Callable[..., tuple[str, ...]]) -> None:
        code = "import sys; print(len(open(sys.argv[1], 'rb').read()))"
        with consuming(runner, lambda path, descriptor: Command(python(code, path), descriptors=(descriptor,))) as consumer:
            for _number in range(40):
                consumer.write(b"x" * 100_000)
            assert consumer.finish().stdout == b"4000000\n"

    def test_one_that_wants_no_more_is_judged_by_its_status(
        self, runner: ModuleRunner, python: Callable[..., tuple[str, ...]]
    ) -> None:
        code = "import sys; open(sys.argv[1], 'rb').read(1); sys.exit(3)"
        with consuming(runner, lambda path, descriptor: Command(python(code, path), descriptors=(descriptor,))) as consumer:
            for _number in range(40):
                consumer.write(b"x" * 100_000)
            with pytest.raises(ProgramFailed, match="status 3"):
                consumer.finish()

    @pytest.mark.usefixtures("nothing_left")
    def test_one_whose_feeder_fails_never_sees_the_end(
        self, runner: ModuleRunner, python: Callable[..., tuple[str, ...]], tmp_path: Path
    ) -> None:
        done = tmp_path / "done"
        code = "import sys; open(sys.argv[1], 'rb').read(); open(sys.argv[2], 'w')"

        def command_for(path: str, descriptor: int) -> Command:
            return Command(python(code, path, str(done)), descriptors=(descriptor,))

        with pytest.raises(ValueError, match="broken"), consuming(runner, command_for) as consumer:
            consumer.write(b"half")
            raise ValueError("broken")
        assert not done.exists()

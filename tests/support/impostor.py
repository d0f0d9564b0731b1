"""Programs in place of PostgreSQL's own: small scripts that fail or wait for a test."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ansible_collections.lastgood.database.tests.support.observe import wait_until

# For the shell the second line is a command, for Python a text: the interpreter's path may be too long for a first line, or
# have a space in it.
_PREAMBLE = """\
#!/bin/sh
'exec' '{python}' '-IS' "$0" "$@"
import os, signal, subprocess, sys, time
signal.alarm(120)  # whatever becomes of the test
folder, real, arguments = {folder!r}, {real!r}, sys.argv[1:]
if arguments == ["--version"]:
    os.execv(real, [real, "--version"])
out = next((argument.partition("=")[2] for argument in arguments if argument.startswith("--file=")), "")

def note(name, text=""):
    path = os.path.join(folder, name)
    draft = "%s~%d" % (path, os.getpid())  # several of us may note the same
    with open(draft, "w") as file:
        file.write(text)
    os.rename(draft, path)

def wait_for(name):
    while not os.path.exists(os.path.join(folder, name)):
        time.sleep(0.01)

def go_on():
    os.execv(real, [real, *arguments])

def real_output(count):
    reading, writing = os.pipe()
    instead = ["--file=/dev/fd/%d" % writing if one.startswith("--file=") else one for one in arguments]
    os.set_inheritable(writing, True)
    child = subprocess.Popen([real, *instead], close_fds=False)  # the password may be in one that we were given
    os.close(writing)
    note("child", str(child.pid))
    source = open(reading, "rb", buffering=0)
    while count and (chunk := source.read(min(count, 65536))):
        count -= len(chunk)
        yield chunk
    yield b""  # the half is out
    while chunk := source.read(65536):
        yield chunk
    status = child.wait()
    if status:
        sys.exit(status)

note("pid", str(os.getpid()))
"""

HOLD = """
note("started")
wait_for("go")
go_on()
"""

# Writes the first bytes of the real dump, and the rest after ``say("go")``.
HALF = """
sink = open(out, "wb", buffering=0)
for chunk in real_output({count}):
    if chunk:
        sink.write(chunk)
    else:
        note("half")
        wait_for("go")
"""


class Impostor:
    """A bin_directory in which one of PostgreSQL's programs is a Python script, and the others are the real ones.

    The script can use ``note(name)``, ``wait_for(name)``, ``go_on()`` (become the real program), ``real_output(count)``, and
    ``out``, the path of the file to write, if any.
    """

    def __init__(self, folder: Path, real: Path, script: str, *, program: str = "pg_dump") -> None:
        self.notes = folder / "notes"
        self.bin_directory = folder / "bin"
        self.notes.mkdir(parents=True)
        self.bin_directory.mkdir()
        for one in real.iterdir():
            if one.name != program:
                (self.bin_directory / one.name).symlink_to(one)
        preamble = _PREAMBLE.format(python=sys.executable, folder=str(self.notes), real=str(real / program))
        path = self.bin_directory / program
        path.write_text(preamble + script, encoding="utf-8")
        path.chmod(0o755)

    def has_noted(self, name: str) -> bool:
        return (self.notes / name).exists()

    def wait_for(self, name: str, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait until the script has noted that. Fails if ``unless`` becomes true first."""
        wait_until(lambda: self.has_noted(name) or unless())
        assert self.has_noted(name), f"it ended before it noted {name!r}"

    def say(self, name: str) -> None:
        """End the script's wait for it."""
        (self.notes / name).touch()

    def pid(self, name: str = "pid") -> int:
        return int((self.notes / name).read_text())

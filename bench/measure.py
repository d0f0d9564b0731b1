"""Measures commands in turn, A B A B, so that a machine whose speed drifts is as fair to the one as to the other."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import typing as t
from dataclasses import dataclass, field

ROUNDS = 5

# A virtual machine may have given its free memory back to its host, and whoever is the first to use it again then waits for it:
# 1.4 s a gigabyte, seen. So this much, if it is free, is used and freed again before each run.
_USE_MEMORY = "import os; b'x' * min(4 << 30, os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2)"

# Starts a command and measures it. In a process of its own, and a small one: the largest memory of whoever starts a program
# counts as that program's.
_STARTER = """
import json, os, sys, time
nothing = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
began = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=nothing)
_pid, status, usage = os.wait4(pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - began, usage.ru_maxrss / 1024]))
"""


@dataclass(frozen=True)
class Case:
    """A command to measure, with what is added to our environment, and what is made ready before each of its runs.

    Its seconds are divided by ``units``, where cases do different amounts of the same work.
    """

    command: t.Sequence[str]
    environment: t.Mapping[str, str] = field(default_factory=dict)
    prepare: t.Callable[[], object] = lambda: None
    units: float = 1.0


@dataclass
class Figures:
    """What the runs of a command took: wall-clock seconds, and the largest memory of each in MiB."""

    seconds: list[float] = field(default_factory=list)
    mebibytes: list[float] = field(default_factory=list)


def compare(title: str, cases: t.Mapping[str, Case], rounds: int = ROUNDS) -> None:
    """Run the cases in turn, after one round that does not count, and print the medians.

    Ratios are to the last case, the median of the ratios round by round.
    """
    figures = {name: Figures() for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            case.prepare()
            os.sync()  # so that none waits for what another left to the disk
            subprocess.run([sys.executable, "-I", "-S", "-c", _USE_MEMORY], check=True)
            seconds, mebibytes = run(case)
            if number:
                figures[name].seconds.append(seconds / case.units)
                figures[name].mebibytes.append(mebibytes)
    floor = list(figures.values())[-1]
    print(f"{title} (medians of {rounds} rounds)")
    for name, each in figures.items():
        ratio = statistics.median(a / b for a, b in zip(each.seconds, floor.seconds, strict=True))
        spread = f"{min(each.seconds):.2f} to {max(each.seconds):.2f}"
        median = statistics.median(each.seconds)
        print(f"  {name:36} {median:7.2f} s ({spread})  {ratio:5.2f}x  {max(each.mebibytes):6.0f} MiB")
    sys.stdout.flush()


def run(case: Case) -> tuple[float, float]:
    """Run a command to its end. Return its wall-clock seconds and its largest memory in MiB."""
    starter = [sys.executable, "-I", "-S", "-c", _STARTER, *case.command]
    done = subprocess.run(starter, env={**os.environ, **case.environment}, stdout=subprocess.PIPE, check=True)
    status, seconds, mebibytes = json.loads(done.stdout)
    if status != 0:
        sys.exit(f"{case.command[0]} ended with status {status}")
    return seconds, mebibytes

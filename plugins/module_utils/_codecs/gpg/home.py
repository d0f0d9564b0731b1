"""A temporary GnuPG home, which has none of the user's options, agents and keys."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import ProgramMissing
from ansible_collections.lastgood.database.plugins.module_utils._process import (
    Command,
    Completed,
    Runner,
    consuming,
)
from ansible_collections.lastgood.database.plugins.module_utils._scratch import (
    scratch_folder,
    sweep_scratch_folders,
    temporary_directory,
)

_PREFIX = "lg-gpg-"  # short: an agent's socket may be in it, and the path of a socket has at most 107 bytes
# --trust-model always: keys are chosen by their full fingerprints, and gpg can't ask anybody.
_OPTIONS = (
    "--no-options",
    "--no-autostart",
    "--batch",
    "--no-tty",
    "--no-permission-warning",
    "--no-random-seed-file",
    "--trust-model",
    "always",
)


@dataclass(frozen=True)
class GpgHome:
    """A home, and how to run gpg in it."""

    program: str
    folder: str
    runner: Runner

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return a command line of gpg."""
        return (self.program, "--homedir", self.folder, *_OPTIONS, *arguments)

    def feed(self, data: bytes, *arguments: str) -> Completed:
        """Run gpg with ``data`` as its input file, whose path follows ``arguments``. Raises ProgramFailed."""

        def command_for(path: str, descriptor: int) -> Command:
            return Command((*self.command(*arguments), "--", path), descriptors=(descriptor,))

        with consuming(self.runner, command_for) as consumer:
            consumer.write(data)
            return consumer.finish()


def find_gpg(runner: Runner, purpose: str) -> str:
    """Return the path of the program gpg. Raises ProgramMissing, which names the purpose."""
    program = runner.find_program("gpg")
    if program is None:
        raise ProgramMissing(
            f"{purpose} needs the program gpg, and this host has none.",
            "Install the package gnupg (Debian and Ubuntu), gnupg2 (RHEL and Fedora) or gpg2 (SUSE).",
        )
    return program


@contextlib.contextmanager
def gpg_home(runner: Runner, program: str) -> t.Iterator[GpgHome]:
    """Make a home, and remove it with its content at the end of the context. gpg starts no daemon in it."""
    parent = temporary_directory()
    sweep_scratch_folders(parent, _PREFIX)
    with scratch_folder(parent, _PREFIX) as folder:
        yield GpgHome(program, folder, runner)

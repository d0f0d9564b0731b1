"""Examine a backup of PostgreSQL: pg_restore reads an archive from end to end, without a server, or it is restored."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import (
    WHOLE,
    ContentExamination,
    ExaminationResult,
    check_restorable_beside_others,
    directory_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.drill import drilling, drilling_globals
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import PostgresqlExaminationOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.programs import (
    SERVER,
    choose_program,
    tells_of_the_dump,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.throwaway_server import started
from ansible_collections.lastgood.database.plugins.module_utils._engines.throwaway import ThrowawayServers
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid, ProgramFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Consumer, Runner, consuming

_MAJOR = re.compile(r"\d{1,4}(?!\d)")
_OLDEST_MAJOR = 9  # where nobody says what the dump is of, any will do


class PostgresqlExaminer:
    """Examines the backups of one run. They share how a server of our own is shut in."""

    def __init__(self, options: PostgresqlExaminationOptions, runner: Runner, clock: Clock) -> None:
        self._options = options
        self._runner = runner
        self._clock = clock
        self._servers = ThrowawayServers(runner)

    @contextlib.contextmanager
    def reading_structure(self, manifest: Manifest) -> t.Iterator[ContentExamination]:
        if manifest.format == "plain":
            yield _PlainExamination()
            return
        program = choose_program(self._runner, "pg_restore", *_dump_version(manifest), self._directory_of("pg_restore"))

        def command_for(path: str, descriptor: int) -> Command:
            # Written to nowhere as SQL: so every block of data is read, and not the table of contents alone.
            return Command((program.path, "--format=custom", "--file=/dev/null", path), descriptors=(descriptor,))

        with consuming(self._runner, command_for) as consumer:
            yield _ArchiveExamination(consumer)

    @contextlib.contextmanager
    def restoring(self, manifest: Manifest) -> t.Iterator[ContentExamination]:
        login, bin_directory = self._options.login, self._directory_of("pg_restore")
        throwaway = login is None
        with contextlib.ExitStack() as stack:
            if login is None:
                postgres = choose_program(self._runner, SERVER, *_dump_version(manifest), self._directory_of(SERVER))
                login, bin_directory = stack.enter_context(started(self._servers, postgres)), os.path.dirname(postgres.path)
            else:
                check_restorable_beside_others(manifest, "The roles of a cluster", check_mode=self._options.check_mode)
            drill = (
                drilling_globals(login)
                if manifest.kind == "globals"
                else drilling(login, self._runner, manifest, self._clock(), bin_directory, throwaway=throwaway)
            )
            yield stack.enter_context(drill)

    def _directory_of(self, program: str) -> str | None:
        return directory_of((program,), self._options.bin_directory)


def _dump_version(manifest: Manifest) -> tuple[str, int]:
    """Return the version whose programs can read the dump, and its major: the server's or pg_dump's, which is newer."""
    versions = [manifest.server_version or "", (manifest.tool or "").rpartition(" ")[2]]
    known = [(int(match[0]), version) for version in versions if (match := _MAJOR.match(version))]
    major, version = max(known, default=(_OLDEST_MAJOR, "of an unknown version"))
    return version, major


class _PlainExamination:
    """A plain dump. Its content digest has already checked the trailer."""

    def write(self, data: bytes | memoryview) -> None:
        pass

    def finish(self) -> ExaminationResult:
        return WHOLE


@dataclass(frozen=True)
class _ArchiveExamination:
    """An archive that pg_restore reads."""

    consumer: Consumer

    def write(self, data: bytes | memoryview) -> None:
        self.consumer.write(data)

    def finish(self) -> ExaminationResult:
        try:
            self.consumer.finish()
        except ProgramFailed as error:
            if not tells_of_the_dump(error, "custom"):
                raise
            raise ContentInvalid(error.problem, "Take another backup.") from error
        return WHOLE

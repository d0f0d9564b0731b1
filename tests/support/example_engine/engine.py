"""The smallest engine: a database is a text file that begins with EXAMPLE and ends with a line break.

docs/architecture.md, "Add an engine", refers to it. Its place in the collection is ``_engines/example/engine.py``.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest, Hash, finished
from ansible_collections.lastgood.database.plugins.module_utils._engines.arguments import EngineArguments
from ansible_collections.lastgood.database.plugins.module_utils._engines.checking import Checker, SurveyChecker
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import ContentDigest, Format
from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import (
    Content,
    Dumper,
    Scope,
    Survey,
    Target,
    Unavailable,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import (
    WHOLE,
    ContentExamination,
    ExaminationResult,
    Examiner,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import (
    Restoration,
    Restorer,
    Swapped,
    TargetState,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid, SourceInvalid, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._io import read_full, write_all
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

_BEGINNING = b"EXAMPLE"


@dataclass(frozen=True)
class ExampleDumpOptions:
    paths: tuple[str, ...]


@dataclass(frozen=True)
class ExampleRestoreOptions:
    path: str


class ExampleEngine:
    """The engine ``example``. One with a file for each job imports it in the method that needs it."""

    name: t.ClassVar[str] = "example"
    dump_requires: t.ClassVar[tuple[str, ...]] = ("databases",)

    def arguments(self) -> EngineArguments:
        from ansible_collections.lastgood.database.plugins.module_utils._engines.example import arguments

        return arguments

    def dumper(self, options: ExampleDumpOptions, runner: Runner) -> Dumper:
        return _Dumper(options)

    def checker(self, options: ExampleDumpOptions, runner: Runner) -> Checker:
        return SurveyChecker(_Dumper(options))

    def restorer(self, options: ExampleRestoreOptions, runner: Runner) -> Restorer:
        return _Restorer(options.path)

    def examiner(self, options: None, runner: Runner, clock: Clock) -> Examiner:
        return _Examiner()

    def content_digest(self, form: str, algorithm: Hash) -> ContentDigest | None:
        return _Digest(algorithm) if form == "custom" else None

    def recognise(self, head: bytes) -> Format | None:
        return "custom" if head.startswith(_BEGINNING) else None


@dataclass(frozen=True)
class _Dumper:
    name: t.ClassVar[str] = ExampleEngine.name

    options: ExampleDumpOptions

    def scope(self) -> Scope:
        return Scope("files", tuple(os.path.basename(path) for path in self.options.paths))

    def survey(self) -> Survey:
        targets, unavailable = [], []
        for path in self.options.paths:
            if os.path.isfile(path):
                targets.append(_target(path))
            else:
                unavailable.append(Unavailable(os.path.basename(path), SourceInvalid(f"{path} is no file.", "Correct it.")))
        return Survey(tuple(targets), tuple(unavailable))

    @contextlib.contextmanager
    def dumping(self, target: Target, make_copy_file: t.Callable[[], str]) -> t.Iterator[Content]:
        descriptor = os.open(target.source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield _File(descriptor)
        finally:
            os.close(descriptor)

    def content_digest(self, target: Target, algorithm: Hash) -> ContentDigest:
        return _Digest(algorithm)


def _target(path: str) -> Target:
    return Target(
        kind="database",
        database=os.path.basename(path),
        engine=ExampleEngine.name,
        instance=os.path.realpath(path),
        source=path,
        server_version="1",
        tool="example 1",
        format="custom",
    )


@dataclass(frozen=True)
class _File:
    descriptor: int

    def readinto(self, buffer: memoryview) -> int:
        return read_full(self.descriptor, buffer)

    def finish(self) -> None:
        pass


class _Digest:
    def __init__(self, algorithm: Hash) -> None:
        self._digest = algorithm
        self._head = b""

    def update(self, chunk: memoryview) -> None:
        self._head = (self._head + bytes(chunk[: len(_BEGINNING)]))[: len(_BEGINNING)]
        self._digest.update(chunk)

    def finish(self) -> Digest:
        if self._head != _BEGINNING:
            raise ContentInvalid("It does not begin with EXAMPLE.", "See what wrote it.")
        return finished(self._digest)


class _Examiner:
    def reading_structure(self, manifest: Manifest) -> t.ContextManager[ContentExamination]:
        return contextlib.nullcontext(_Lines())

    def restoring(self, manifest: Manifest) -> t.ContextManager[ContentExamination]:
        return contextlib.nullcontext(_Lines())


class _Lines:
    def __init__(self) -> None:
        self._end = b""

    def write(self, data: bytes | memoryview) -> None:
        self._end = bytes(data[-1:])

    def finish(self) -> ExaminationResult:
        if self._end != b"\n":
            raise ContentInvalid("Its last line is incomplete.", "Take another backup.")
        return WHOLE


@dataclass(frozen=True)
class _Restorer:
    name: t.ClassVar[str] = ExampleEngine.name
    unpacks: t.ClassVar[bool] = False
    in_use_remedy: t.ClassVar[str] = "Stop the application."

    database: str

    @property
    def plan(self) -> tuple[str, ...]:
        return ()

    def describe_server(self, manifest: Manifest) -> str | None:
        return None

    def examine_target(self, manifest: Manifest) -> TargetState:
        return TargetState(exists=os.path.exists(self.database))

    @contextlib.contextmanager
    def restoring(self, manifest: Manifest, stamp: datetime, make_file: t.Callable[[], int]) -> t.Iterator[Restoration]:
        new = f"{self.database}.new"
        with store_errors(f"Making {new}"):
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield _Restoration(descriptor, new, self.database)
        finally:
            os.close(descriptor)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)


@dataclass(frozen=True)
class _Restoration:
    descriptor: int
    new: str
    database: str

    def write_globals(self, data: bytes | memoryview) -> None:
        pass

    def write(self, data: bytes | memoryview) -> None:
        write_all(self.descriptor, data)

    def fill(self) -> None:
        os.fsync(self.descriptor)

    def swap(self) -> Swapped:
        os.rename(self.new, self.database)
        return Swapped(None, 0.0)

"""The face of an engine: the interface to one kind of database.

Each engine has a folder with one ``engine.py``, and one line in the registry. docs/architecture.md says how to add one.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._digests import Hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.arguments import EngineArguments
from ansible_collections.lastgood.database.plugins.module_utils._engines.checking import Checker
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import ContentDigest, Format
from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Dumper
from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import Examiner
from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import Restorer
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

DumpOptions_contra = t.TypeVar("DumpOptions_contra", contravariant=True)
RestoreOptions_contra = t.TypeVar("RestoreOptions_contra", contravariant=True)
ExaminationOptions_contra = t.TypeVar("ExaminationOptions_contra", contravariant=True)


class Engine(t.Protocol[DumpOptions_contra, RestoreOptions_contra, ExaminationOptions_contra]):
    """One kind of database. Its ``arguments`` convert a module's options to its own.

    Each method imports its file only when it is called: a target compiles all files that a module imports.
    """

    name: t.ClassVar[str]
    dump_requires: t.ClassVar[tuple[str, ...]]  # the options that db_backup requires for the engine

    def arguments(self) -> EngineArguments:
        """Return the functions that convert the options of modules."""

    def dumper(self, options: DumpOptions_contra, runner: Runner) -> Dumper:
        """Return a dumper of the selected databases."""

    def checker(self, options: DumpOptions_contra, runner: Runner) -> Checker:
        """Return a checker of the selected databases."""

    def restorer(self, options: RestoreOptions_contra, runner: Runner) -> Restorer:
        """Return a restorer of one database."""

    def examiner(self, options: ExaminationOptions_contra, runner: Runner, clock: Clock) -> Examiner:
        """Return an examiner of the content of backups."""

    def content_digest(self, form: str, algorithm: Hash) -> ContentDigest | None:
        """Return a new digest for a dump in a format, computed by a new hash; None if the engine has no such format."""

    def recognise(self, head: bytes) -> Format | None:
        """Return the format of a dump that begins with these bytes, None if it is not this engine's."""

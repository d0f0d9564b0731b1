"""The engines, by their names in manifests and in the modules' option ``engine``."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._digests import new_hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.base import Engine
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import ContentDigest, Format
from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import Examiner
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.engine import MysqlEngine
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.engine import PostgresqlEngine
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.engine import SqliteEngine
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

AnyEngine = Engine[t.Any, t.Any, t.Any]

ENGINES: dict[str, AnyEngine] = {
    PostgresqlEngine.name: PostgresqlEngine(),
    SqliteEngine.name: SqliteEngine(),
    MysqlEngine.name: MysqlEngine(),
}


def engine_named(name: str) -> AnyEngine:
    """Return the engine with a name. Raises ArgumentInvalid for an unknown one."""
    engine = ENGINES.get(name)
    if engine is None:
        raise ArgumentInvalid(f"engine is {name}, which is unknown.", f"Give one of {', '.join(ENGINES)}.")
    return engine


def content_digest_for(manifest: Manifest) -> ContentDigest | None:
    """Return a new digest for the content of the backup with this manifest; None for an unknown engine or format.

    It uses the manifest's algorithm if the host has that.
    """
    engine, form = manifest.engine, manifest.format
    if engine is None or form is None or engine not in ENGINES:
        return None
    return ENGINES[engine].content_digest(form, new_hash(manifest.content_digest))


def describe_content(head: bytes) -> tuple[str, Format] | None:
    """Return the engine and format of a dump that begins with these bytes; None if no engine recognises it."""
    recognised = ((name, engine.recognise(head)) for name, engine in ENGINES.items())
    return next(((name, form) for name, form in recognised if form is not None), None)


class Examiners:
    """The examiners of one run, each made with its engine's options when the first backup of the engine is examined."""

    def __init__(self, options: t.Mapping[str, t.Any], runner: Runner, clock: Clock) -> None:
        self._options = options
        self._runner = runner
        self._clock = clock
        self._examiners: dict[str, Examiner] = {}

    def examiner_for(self, manifest: Manifest) -> Examiner | None:
        """Return the examiner of a backup, by its manifest; None for an unknown engine."""
        name = manifest.engine
        if name is None or name not in ENGINES:
            return None
        if name not in self._examiners:
            self._examiners[name] = ENGINES[name].examiner(self._options[name], self._runner, self._clock)
        return self._examiners[name]

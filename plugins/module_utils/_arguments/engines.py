"""Options whose conversion depends on the engine. Each engine has a file here that converts them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._arguments import engine_postgresql, engine_sqlite
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Params, Spec
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import engine_named


class EngineArguments(t.Protocol):
    """What the file of an engine has. The options that it returns are those of the engine's face."""

    @property
    def DUMP_REQUIRES(self) -> tuple[str, ...]:
        """The options that db_backup requires for the engine."""

    def dump_options_from(self, params: Params) -> t.Any:
        """Return the options of db_backup. Raises ArgumentInvalid for one that the engine has no use for."""

    def restore_options_from(self, params: Params) -> t.Any:
        """Return the options of db_restore. Raises ArgumentInvalid for one that the engine has no use for."""

    def examination_options_from(self, params: Params, check_mode: bool) -> t.Any:
        """Return the options of backup_verify."""

    def name_in_backups(self, database: str) -> str:
        """Return the name that backups of a database have, from the value of db_restore's ``database``."""


ENGINE_ARGUMENTS: dict[str, EngineArguments] = {
    "postgresql": engine_postgresql,
    "sqlite": engine_sqlite,
}

ENGINE_SPEC: Spec = {"engine": {"type": "str", "choices": list(ENGINE_ARGUMENTS), "default": "postgresql"}}
DUMP_REQUIRED_IF = [
    ("engine", name, list(arguments.DUMP_REQUIRES)) for name, arguments in ENGINE_ARGUMENTS.items() if arguments.DUMP_REQUIRES
]


def dump_options_from(params: Params) -> t.Any:
    """Return the engine's options of a dump. Raises ArgumentInvalid for an option that the engine has no use for."""
    return _arguments_of(params).dump_options_from(params)


def restore_options_from(params: Params) -> t.Any:
    """Return the engine's options of a restore. Raises ArgumentInvalid for an option that the engine has no use for."""
    return _arguments_of(params).restore_options_from(params)


def examination_options_from(params: Params, *, check_mode: bool) -> dict[str, t.Any]:
    """Return the options of an examination, of each engine by its name."""
    return {name: arguments.examination_options_from(params, check_mode) for name, arguments in ENGINE_ARGUMENTS.items()}


def name_in_backups(params: Params) -> str:
    """Return the name that backups of the database to restore have."""
    return _arguments_of(params).name_in_backups(params["database"])


def _arguments_of(params: Params) -> EngineArguments:
    return ENGINE_ARGUMENTS[engine_named(params["engine"]).name]

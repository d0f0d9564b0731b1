"""Options whose conversion depends on the engine. Each engine converts them itself."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Spec
from ansible_collections.lastgood.database.plugins.module_utils._engines.arguments import EngineArguments
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import ENGINES, engine_named
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params

ENGINE_SPEC: Spec = {"engine": {"type": "str", "choices": list(ENGINES), "default": "postgresql"}}
DUMP_SPEC: Spec = {
    **ENGINE_SPEC,
    "databases": {"type": "list", "elements": "str"},
    "exclude_databases": {"type": "list", "elements": "str", "default": []},
    "include_globals": {"type": "bool"},
    "binlog_position": {"type": "bool"},
    "format": {"type": "str", "choices": ["custom", "plain"], "default": "custom"},
}
DUMP_REQUIRED_IF = [("engine", name, list(engine.dump_requires)) for name, engine in ENGINES.items() if engine.dump_requires]


def dump_options_from(params: Params) -> t.Any:
    """Return the engine's options of a dump. Raises ArgumentInvalid for an option that the engine does not use."""
    return _arguments_of(params).dump_options_from(params)


def restore_options_from(params: Params) -> t.Any:
    """Return the engine's options of a restore. Raises ArgumentInvalid for an option that the engine does not use."""
    return _arguments_of(params).restore_options_from(params)


def examination_options_from(params: Params, *, check_mode: bool) -> dict[str, t.Any]:
    """Return each engine's options of an examination, by its name."""
    return {name: engine.arguments().examination_options_from(params, check_mode) for name, engine in ENGINES.items()}


def name_in_backups(params: Params) -> str:
    """Return the database name that the backups to restore have."""
    return _arguments_of(params).name_in_backups(params["database"])


def _arguments_of(params: Params) -> EngineArguments:
    return engine_named(params["engine"]).arguments()

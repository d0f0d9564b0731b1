"""The options of modules, converted for the example engine. Their place is ``_engines/example/arguments.py``."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._engines.example.engine import (
    ExampleDumpOptions,
    ExampleRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, list_from


def dump_options_from(params: Params) -> ExampleDumpOptions:
    return ExampleDumpOptions(list_from(params, "databases") or ())


def restore_options_from(params: Params) -> ExampleRestoreOptions:
    return ExampleRestoreOptions(params["database"])


def examination_options_from(params: Params, check_mode: bool) -> None:
    """An examination has no options."""


def name_in_backups(database: str) -> str:
    return database.rpartition("/")[2]

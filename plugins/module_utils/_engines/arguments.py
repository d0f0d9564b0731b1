"""The part of an engine that converts the options of modules to its own."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params


class EngineArguments(t.Protocol):
    """The functions of an engine's ``arguments.py``. The engine's methods take the options that they return."""

    def dump_options_from(self, params: Params) -> t.Any:
        """Return the options of db_backup. Raises ArgumentInvalid for one that the engine does not use."""

    def restore_options_from(self, params: Params) -> t.Any:
        """Return the options of db_restore. Raises ArgumentInvalid for one that the engine does not use."""

    def examination_options_from(self, params: Params, check_mode: bool) -> t.Any:
        """Return the options of backup_verify."""

    def name_in_backups(self, database: str) -> str:
        """Return the name that backups of a database have, from the value of db_restore's ``database``."""


def names_server(params: Params) -> bool:
    """Return whether an option of the login has the address of a server."""
    return any(params[option] is not None for option in ("login_host", "login_port", "login_unix_socket"))

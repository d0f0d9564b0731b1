"""The options for the location of backups: one for each kind of store. A task sets exactly one of them.

A new store is one line in ``_REMOTE``. Its options and their conversion are in a file of their own, such as
``store_sftp.py``.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Spec, directory_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.store_sftp import SFTP_SPEC, sftp_connector
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

Connect = t.Callable[[], Store]


class _ConnectorFrom(t.Protocol):
    def __call__(self, params: Params, *, check_mode: bool, runner: Runner) -> Connect:
        """Return a factory of stores with these suboptions. Raises ArgumentInvalid."""


_REMOTE: dict[str, tuple[Spec, _ConnectorFrom]] = {
    "sftp": (SFTP_SPEC, sftp_connector),
}

REMOTE_SPEC: Spec = {name: {"type": "dict", "options": options} for name, (options, _connector) in _REMOTE.items()}
STORE_SPEC: Spec = {"directory": {"type": "path"}, **REMOTE_SPEC}
# For mutually_exclusive and required_one_of.
ONE_STORE = tuple(STORE_SPEC)

_AMOUNT = re.compile(r"([0-9]{1,9})([KMG])")
_AMOUNTS = {"K": 1024, "M": 1024**2, "G": 1024**3}


def store_from(params: Params, *, check_mode: bool, runner: Runner) -> Store:
    """Return the store that a module's options name, local or remote."""
    if params["directory"] is not None:
        return LocalStore(directory_from(params), is_stopped=runner.is_stopped)
    return connector_from(params, check_mode=check_mode, runner=runner)()


def connector_from(params: Params, *, check_mode: bool, runner: Runner) -> Connect:
    """Return a factory of the remote store that a module's options name. Each store has its own connection."""
    given = [name for name in _REMOTE if params[name] is not None]
    if len(given) != 1:
        raise ArgumentInvalid("The task names no store elsewhere, or several.", f"Give one of {', '.join(_REMOTE)}.")
    [name] = given
    _options, connector = _REMOTE[name]
    return connector(params[name], check_mode=check_mode, runner=runner)


def bandwidth_from(params: Params) -> int | None:
    """Return the limit in bytes per second, None for no limit. Raises ArgumentInvalid if it is not an amount."""
    text: str | None = params["bandwidth_limit"]
    if text is None:
        return None
    match = _AMOUNT.fullmatch(text)
    if match is None or not int(match[1]):
        raise ArgumentInvalid(
            f"bandwidth_limit is {text!r}, which is no amount.", "Give a number and K, M or G, such as 500K or 10M."
        )
    return int(match[1]) * _AMOUNTS[match[2]]

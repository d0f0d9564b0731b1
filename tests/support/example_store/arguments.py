"""Options of the example store."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Spec
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner
from ansible_collections.lastgood.database.plugins.module_utils._stores.example.store import ExampleStore

EXAMPLE_SPEC: Spec = {"mounted_at": {"type": "path", "required": True}}


def example_connector(params: Params, *, check_mode: bool, runner: Runner) -> t.Callable[[], ExampleStore]:
    """Return a factory of stores with these options."""
    return lambda: ExampleStore(params["mounted_at"], is_stopped=runner.is_stopped)

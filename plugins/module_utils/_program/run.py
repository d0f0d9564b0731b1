"""The verb ``run``: what the role's main does, on the host."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Caller, Result
from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings


def run(settings: Settings, caller: Caller) -> Result:
    """Back up every source."""
    return {"failed": True, "msg": "run is not yet built."}

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.plugin_utils._progress_action import ProgressAction


class ActionModule(ProgressAction):
    """Run the module of the same name, and show how far it is."""

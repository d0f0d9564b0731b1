# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.plugin_utils._progress_action import ProgressAction


class ActionModule(ProgressAction):
    """Runs the module of the same name, and shows its progress."""

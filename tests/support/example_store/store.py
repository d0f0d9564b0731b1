"""The smallest store for a test that adds one: a mounted share, which is accessed like a directory."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Capabilities
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore


class ExampleStore(LocalStore):
    """A share that is read over a network, and that a task may not make."""

    creates_directory = False
    capabilities = Capabilities(reads_cheaply=False, has_locks=True, replaces_atomically=True)

    def path(self, name: str) -> str:
        return f"example:{super().path(name)}"

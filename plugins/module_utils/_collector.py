# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Work on many thousand objects at a time without Python's cyclic garbage collector."""

from __future__ import annotations

import contextlib
import gc
import typing as t


@contextlib.contextmanager
def collector_paused() -> t.Iterator[None]:
    """Pause the collector: many thousand new records make it run again and again, and they have no cycles that it could free."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

"""Folders for temporary files."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._errors import store_errors


def temporary_directory() -> str:
    """Return the directory for temporary files."""
    import tempfile

    with store_errors("Looking for a directory for temporary files (TMPDIR)"):
        return tempfile.gettempdir()

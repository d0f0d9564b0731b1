"""The spelling of names and texts in SQL."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

_IN_TEXT = str.maketrans({"'": "''", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\x1a": "\\Z"})


def quote_identifier(name: str) -> str:
    """Return a name as a quoted identifier of SQL."""
    doubled = name.replace("`", "``")
    return f"`{doubled}`"


def quote_text(text: str) -> str:
    """Return a text as a string literal of SQL, for sessions without NO_BACKSLASH_ESCAPES."""
    return f"'{text.translate(_IN_TEXT)}'"

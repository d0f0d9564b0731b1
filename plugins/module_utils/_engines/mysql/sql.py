"""The spelling of names and texts in SQL."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

NAME = r"(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\")"  # with ANSI_QUOTES a routine's name is in double quotes
ANY_NAME = rf"(?:{NAME}|[\w$]+)"

_IN_TEXT = str.maketrans({"'": "''", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\x1a": "\\Z"})


def quote_identifier(name: str) -> str:
    """Return a name as a quoted identifier of SQL."""
    doubled = name.replace("`", "``")
    return f"`{doubled}`"


def quote_text(text: str) -> str:
    """Return a text as a string literal of SQL, for sessions without NO_BACKSLASH_ESCAPES."""
    return f"'{text.translate(_IN_TEXT)}'"


def unquoted(name: str) -> str:
    """Return a name without the quotes that it may have in SQL."""
    quote = name[:1]
    return name[1:-1].replace(quote * 2, quote) if quote in ("`", '"') else name

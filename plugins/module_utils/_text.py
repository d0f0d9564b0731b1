"""Texts from outside, made safe for a terminal or a log.

Users choose the names of databases, and servers their messages. A control character in them could move a terminal's cursor,
reverse the order of a line, or begin a new line. ``escaped`` writes each as ``\\x1b`` or ``\\u202e``; ``unescaped`` reads it
back, so that a name in a result can be given to another module.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

LONGEST_TEXT = 4000  # characters

# C0, DEL and C1; marks, embeddings, overrides and isolates of bidirectional text; separators of lines and paragraphs; the byte
# order mark; invisible annotations and tags; halves of a surrogate pair, which stand for bytes that are not UTF-8.
_HIDDEN = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"
_ESCAPE = r"x[01][0-9a-f]|x7f|x[89][0-9a-f]|x5c|u[0-9a-f]{4}|U[0-9a-f]{8}"
_TO_ESCAPE = re.compile(rf"[{_HIDDEN}]|\\(?={_ESCAPE})")
_ESCAPED = re.compile(rf"\\({_ESCAPE})")
_HIDDEN_BUT_TABS = re.compile(rf"(?!\t)[{_HIDDEN}]")
_IS_HIDDEN = re.compile(rf"[{_HIDDEN}\\]")
_LINES = re.compile(r"\s*[\r\n]+\s*")


def escaped(name: str) -> str:
    """Return a name with every control character visible. ``unescaped`` reverses this."""
    if name.isprintable() and "\\" not in name:
        return name
    return _TO_ESCAPE.sub(lambda found: _escape(found[0]), name)


def unescaped(text: str) -> str:
    """Return the name that ``escaped`` wrote as this text."""
    if "\\" not in text:
        return text

    def character(found: re.Match[str]) -> str:
        code = int(found[1][1:], 16)
        read = chr(code) if code <= 0x10FFFF else ""
        return read if _IS_HIDDEN.fullmatch(read) else found[0]

    return _ESCAPED.sub(character, text)


def one_line(text: str) -> str:
    """Return a text for people as one line without control characters, and no longer than a screen or two."""
    return lines(_LINES.sub(" | ", text.strip()))


def lines(text: str) -> str:
    """Return a text for people that may have several lines."""
    if text.isprintable():
        return bounded(text)
    return "\n".join(_HIDDEN_BUT_TABS.sub(lambda found: _escape(found[0]), bounded(line)) for line in text.split("\n"))


def bounded(text: str, most: int = LONGEST_TEXT) -> str:
    """Return a text, without its middle if it is too long: its beginning has the cause, its end the effect."""
    if len(text) <= most:
        return text
    half = most // 2 - 3
    return f"{text[:half]} ... {text[-half:]}"


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

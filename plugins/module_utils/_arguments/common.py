"""Options that many modules share: their argument specs, and their conversion to the values that operations take.

The documentation fragments in plugins/doc_fragments describe the options of this package to users.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import typing as t
from datetime import timedelta

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection

Spec = dict[str, t.Any]
Params = t.Mapping[str, t.Any]

DIRECTORY_SPEC: Spec = {"directory": {"type": "path", "required": True}}

FILE_SPEC: Spec = {"owner": {"type": "str"}, "group": {"type": "str"}, "mode": {"type": "raw"}}

SELECTION_SPEC: Spec = {
    "names": {"type": "list", "elements": "str"},
    "databases": {"type": "list", "elements": "str"},
    "newest": {"type": "int"},
}

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def directory_from(params: Params) -> str:
    """Return the directory. Rejects relative paths: they would depend on the caller's working directory."""
    directory: str = params["directory"]
    if not os.path.isabs(directory):
        raise ArgumentInvalid(f"directory is {directory!r}, which is not an absolute path.", "Name it from the root on.")
    return directory


def selection_from(params: Params) -> Selection:
    """Return the selection of backups."""
    newest = None if params["newest"] is None else at_least(params, "newest", 1)
    return Selection(list_from(params, "names"), list_from(params, "databases"), newest)


def list_from(params: Params, option: str) -> tuple[t.Any, ...] | None:
    """Return an option's list, None where it is not set. Raises ArgumentInvalid for an empty one."""
    values: list[t.Any] | None = params[option]
    if values is None:
        return None
    if not values:
        raise ArgumentInvalid(f"{option} is an empty list, which names nothing.", f"Leave {option} out to mean all.")
    return tuple(values)


def together_or_single(params: Params, option: str, spec: Spec) -> Params:
    """Return the options that a module takes in a dict or one by one. Raises ArgumentInvalid for both ways at once."""
    together: Params | None = params[option]
    if together is None:
        return params
    for name, of_option in spec.items():
        if params[name] != of_option.get("default"):
            raise ArgumentInvalid(f"{option} and {name} don't go together.", f"Set {name} in {option}, or leave {option} out.")
    return together


def at_least(params: Params, option: str, least: int) -> int:
    """Return an option's number. Raises ArgumentInvalid for one that is too small."""
    value: int = params[option]
    if value < least:
        raise ArgumentInvalid(f"{option} is {value}.", f"It must be {least} or more.")
    return value


def duration_from(params: Params, option: str) -> timedelta | None:
    """Return an option's duration, None where it is not set. Raises ArgumentInvalid if it is not a duration."""
    text: str | None = params[option]
    return None if text is None else duration_of(option, text)


def duration_of(option: str, text: str) -> timedelta:
    """Parse an option's duration. Raises ArgumentInvalid if it is not a duration."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ArgumentInvalid(
            f"{option} is {text!r}, which is no duration.", "Give a number and s, m, h, d or w, such as 20h or 7d."
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def lock_timeout_from(params: Params) -> float:
    """Return for how many seconds to wait for a lock."""
    return duration_of("lock_timeout", params["lock_timeout"]).total_seconds()

"""The values of a module's options, converted to those that operations and engines take."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import stat
import typing as t
from datetime import timedelta

from ansible_collections.lastgood.database.plugins.module_utils._access import objection_to_secret
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

Params = t.Mapping[str, t.Any]

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_MOST_CHARACTERS = 1 << 16  # of a password
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def list_from(params: Params, option: str) -> tuple[t.Any, ...] | None:
    """Return an option's list, None if it is not set. Raises ArgumentInvalid for an empty one."""
    values: list[t.Any] | None = params[option]
    if values is None:
        return None
    if not values:
        raise ArgumentInvalid(f"{option} is an empty list, which names nothing.", f"Leave {option} out to mean all.")
    return tuple(values)


def refuse_options(params: Params, engine: str, *options: str) -> None:
    """Raise ArgumentInvalid for an option that is set and that the engine does not have."""
    for option in options:
        if params[option]:
            raise no_such_option(engine, option)


def no_such_option(engine: str, option: str) -> ArgumentInvalid:
    return ArgumentInvalid(f"The engine {engine} has no option {option}.", "Leave it out, or correct engine.")


def at_least(params: Params, option: str, least: int) -> int:
    """Return an option's number. Raises ArgumentInvalid for one that is too small."""
    value: int = params[option]
    if value < least:
        raise ArgumentInvalid(f"{option} is {value}.", f"It must be {least} or more.")
    return value


def duration_from(params: Params, option: str) -> timedelta | None:
    """Return an option's duration, None if it is not set. Raises ArgumentInvalid if it is not a duration."""
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


def duration_in_words(duration: timedelta) -> str:
    """Return a duration as users write it, in its two largest units."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{count}{unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")) if count]
    return " ".join(parts[:2]) or "0s"


def percent_from(params: Params, option: str) -> int:
    """Return an option's percentage. Raises ArgumentInvalid for one that is not from 0 to 100."""
    value = at_least(params, option, 0)
    if value > 100:
        raise ArgumentInvalid(f"{option} is {value}.", "It must be 100 or less.")
    return value


def lock_timeout_from(params: Params) -> float:
    """Return for how many seconds to wait for a lock."""
    return duration_of("lock_timeout", params["lock_timeout"]).total_seconds()


def password_in(path: str, option: str) -> str:
    """Return the password in a file, without the line break at its end. Raises ArgumentInvalid if it can't be used."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), encoding="utf-8") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise ArgumentInvalid(f"{option} {path} is no regular file.", "Name the file of a password.")
            objection = objection_to_secret(path, facts)
            if objection is not None:
                raise ArgumentInvalid(f"{option} {path} {objection.problem}.", objection.next_step)
            password = file.read(_MOST_CHARACTERS + 1)
    except OSError as error:
        raise ArgumentInvalid(
            f"{option} {path} can't be read: {error.strerror}.",
            "Correct the path, or let the user who runs the task read it. The file is read on the host.",
        ) from error
    except UnicodeDecodeError as error:
        raise ArgumentInvalid(f"{option} {path} is no text in UTF-8.", "Name the file of a password.") from error
    password = password[:-1] if password.endswith("\n") else password
    if not password or len(password) > _MOST_CHARACTERS:
        raise ArgumentInvalid(
            f"{option} {path} {'is too long for a password' if password else 'is empty'}.", "Name the file of a password."
        )
    return password

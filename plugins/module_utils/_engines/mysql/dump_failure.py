"""Explains why a dump failed, by the number of the server's or the program's error."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import LOST
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    AuthenticationFailed,
    BackupError,
    ConnectionLost,
    GrantMissing,
    ProgramFailed,
    SourceBusy,
    SourceInvalid,
)

# "Got error: 1194: Table ...", "Error 2013: ...", "... Access denied for user 'x' (1044)", "Incorrect file format 'x' (130)"
_NUMBER = re.compile(r"[Ee]rror:? (\d{4})\b|\((\d{3,4})\)")
# "Error 1030: Got error 175 ...": the second number is the storage engine's
_NUMBER_OF_ENGINE = re.compile(r"\b1030: \D*(\d+)")
_DENIED = (1044, 1142, 1143, 1227, 1370)
_LOGIN = (1045, 1130, 1698)
_CRASHED = (126, 127, 130, 134, 144, 145, 175, 176, 1034, 1035, 1194, 1195)
_CHANGED = (1412,)
_LOCKED = (1205, 1213)


def explained(error: ProgramFailed, title: str) -> BackupError:
    """Return the error for a dump program that failed."""
    match = _NUMBER.search(error.problem)
    number = 0 if match is None else int(match[1] or match[2])
    number_of_engine = _NUMBER_OF_ENGINE.search(error.problem)
    details = {**error.details, **({"number": number} if number else {})}
    if number in _DENIED:
        return GrantMissing(
            f"The user may not read all of {title}: {error.problem}",
            "Grant SELECT, SHOW VIEW, TRIGGER and EVENT on the database.",
            **details,
        )
    if number in _LOGIN:
        return AuthenticationFailed(error.problem, "Correct login_user and login_password.", **details)
    if number in LOST:
        return ConnectionLost(
            f"The connection to the server was lost while {title} was dumped: {error.problem}",
            "See whether the server runs, and what its log says; earlier backups are as they were.",
            **details,
        )
    if number in _CRASHED or (number_of_engine is not None and int(number_of_engine[1]) in _CRASHED):
        return SourceInvalid(
            f"A table of {title} is damaged: {error.problem}", "Repair it (CHECK TABLE, REPAIR TABLE), and run again.", **details
        )
    if number in _CHANGED or number in _LOCKED:
        return SourceBusy(
            f"Somebody changed or locked a table of {title} while it was dumped: {error.problem}", "Run it again.", **details
        )
    return ProgramFailed(error.problem, error.remedy, **details)

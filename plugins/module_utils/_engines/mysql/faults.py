"""Classifies the error of a restore: a lost connection, a fault of the backup, or one of the server that it was restored into."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import LOST
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionLost,
    ContentInvalid,
    Inconclusive,
    ProgramFailed,
)

# https://mariadb.com/kb/en/mariadb-error-codes/
_OF_THE_SERVER = {
    *(1005, 1016, 1017, 1021, 1026, 1028, 1030, 1037, 1038, 1041, 1114, 1135),  # files, memory, disk
    *(1053, 1152, 1153, 1158, 1159, 1160, 1161, 1205, 1213, 1927),  # connections, locks
    *(1115, 1126, 1128, 1193, 1235, 1273, 1286, 1289, 1290, 1524, 4173),  # features that it lacks or forbids
    *(1044, 1045, 1142, 1227, 1419),  # privileges
    *range(2000, 3000),  # errors of the client
}
_TLS_BROKE = 2026  # the module's own connection had TLS a moment before
# The object is in another database, and a dump has only one.
_DEPENDS = {1049, 1146, 1305, 1356, 4031}
_ERROR = re.compile(r"ERROR (\d+) ")


def number_in(problem: str) -> int | None:
    """Return the number of the error that the client reported."""
    match = _ERROR.search(problem)
    return None if match is None else int(match[1])


def explained(failure: ProgramFailed, database: str) -> BackupError:
    """Return the error for a client that failed while it restored a database."""
    if number_in(failure.problem) not in (*LOST, _TLS_BROKE):
        return failure
    return ConnectionLost(
        f"The connection to the server was lost while {database} was restored: {failure.problem}",
        "See whether the server runs, and what its log says; the database is as it was.",
        **failure.details,
    )


def verdict_of(failure: ProgramFailed, database: str, *, is_older: bool) -> BackupError:
    """Return the error for a restore that failed. ``is_older`` is whether the server is older than the dump's."""
    number, problem = number_in(failure.problem), failure.problem
    if number is None or number in _OF_THE_SERVER:
        return Inconclusive(problem, "See what the server lacks, and run again.")
    if is_older:
        return Inconclusive(
            f"The server is older than the one that was dumped: {problem}", "Install a server of that version, or a newer one."
        )
    if number in _DEPENDS and f"'{database}." not in problem and f"{database}." not in problem:
        return Inconclusive(f"The backup refers to another database: {problem}", "Restore both to a server of your own, and see.")
    return ContentInvalid(problem, "Take another backup.")

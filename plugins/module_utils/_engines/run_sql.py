"""The user's SQL to run in a restored database before it gets its name."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    BackupError,
    ProgramTimeout,
    RunSqlFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, duration_of

_LONGEST_FILE = 16 * 1024 * 1024  # bytes; the server gets the file as one text
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe without a writer must not block
_REMEDY = "Nothing was replaced, and the new database was removed: correct the SQL, and run it again."


@dataclass(frozen=True)
class Sql:
    """One text of SQL, and its title in messages. The text may have secrets, so no message shows it."""

    title: str
    text: str = field(repr=False)

    def failed(self, words: str, **details: t.Any) -> RunSqlFailed:
        """Return the error for SQL that failed with the server's message ``words``."""
        return RunSqlFailed(f"{self.title} failed: {words}", _REMEDY, **details)


@dataclass(frozen=True)
class RunSql:
    """The SQL to run, in order and in one transaction, and the seconds that all of it may take; None is no limit.

    ``as_owner`` runs it with the role of the database's owner.
    """

    texts: tuple[Sql, ...]
    source: str
    as_owner: bool = False
    seconds: float | None = None

    @property
    def plan(self) -> str:
        """Return what will be run, for a diff."""
        return f"run_sql: {self.source}{', as the owner' if self.as_owner else ''}"

    def deadline(self) -> float:
        """Return the monotonic time by which the SQL must have ended."""
        return float("inf") if self.seconds is None else time.monotonic() + self.seconds

    def late(self) -> ProgramTimeout:
        return ProgramTimeout(
            f"run_sql took longer than its timeout, {self.seconds:g} seconds.",
            "Nothing was replaced, and the new database was removed. See what the SQL waits for, or raise the timeout.",
        )


def run_sql_from(params: Params) -> RunSql | None:
    """Return the SQL to run, None if there is none. Reads the file. Raises ArgumentInvalid for SQL that can't be run."""
    given: Params | None = params["run_sql"]
    if given is None:
        return None
    statements: t.Sequence[str] | None = given["statements"]
    path: str | None = given["file"]
    texts = [Sql(f"The file {path} of run_sql", _read(path))] if path is not None else []
    for number, text in enumerate(statements or (), start=1):
        texts.append(Sql(f"Statement {number} of run_sql", text))
    for one in texts:
        if not one.text.strip() or "\0" in one.text:
            raise ArgumentInvalid(f"{one.title} is empty, or has a NUL character.", "Give SQL, or leave run_sql out.")
    if not texts:
        raise ArgumentInvalid("run_sql has an empty list of statements.", "Give SQL, or leave run_sql out.")
    counted = f"{len(texts)} statement{'s' if len(texts) > 1 else ''}"
    timeout = None if given["timeout"] is None else duration_of("run_sql.timeout", given["timeout"]).total_seconds()
    if timeout == 0:
        raise ArgumentInvalid("run_sql.timeout is 0.", "Give a longer time, or leave it out for no limit.")
    return RunSql(tuple(texts), counted if path is None else f"the file {path}", given["as_owner"], timeout)


def _read(path: str) -> str:
    if not os.path.isabs(path):
        raise ArgumentInvalid(f"run_sql.file is {path!r}, which is not an absolute path.", "Name it from the root on.")
    try:
        with store_errors(f"Reading {path}"), open(os.open(path, _READ), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LONGEST_FILE:
                raise ArgumentInvalid(
                    f"{path} is no regular file of at most {_LONGEST_FILE >> 20} MiB.", "Name a file on the host with SQL in it."
                )
            return file.read(_LONGEST_FILE).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentInvalid(f"{path} is not in UTF-8: byte {error.start}.", "Convert it.") from error
    except ArgumentInvalid:
        raise
    except BackupError as error:
        raise ArgumentInvalid(
            f"run_sql.file can't be read. {error.problem}",
            "Name a file on the host that the user may read; a file on the controller goes into statements, by the lookup file.",
        ) from error

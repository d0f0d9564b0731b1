"""Check a private copy of an untrusted database by SQLite's own check, within limits.

A database can make its check exhaust a host: expressions in its indexes and constraints may take gigabytes and hours. So the
check has limits of memory and time, and it runs in a thread that can be abandoned: SQLite checks for an interruption only
between the steps of its program, and one step can take minutes.

Only damage counts against the database. If this SQLite does not support something, or a limit is exceeded, that proves nothing
about the database.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import connect, descriptors_of
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    Inconclusive,
    Interrupted,
    StoreFailed,
)

HEAP_BYTES = 64 * 1024 * 1024
LEAST_SECONDS = 60.0
BYTES_A_SECOND = 1024 * 1024  # random reads from a slow disk

_MOST_FINDINGS = 100_000
_DAMAGE_SHOWN = 3
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 1.0  # for SQLite to notice that it was interrupted

_IMMUTABLE = "mode=ro&immutable=1"  # without locks and journals, whatever mode the database was in
_TABLES = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
_VIRTUAL = re.compile("CREATE VIRTUAL ", re.IGNORECASE)

# Values that violate the tables' definitions, as after a change of the schema. The application stored them like that.
_BREAKS_RULE = re.compile(r"(?:NULL|NUMERIC|TEXT|non-[A-Z]+) value in |CHECK constraint failed in ")
# A definition that this SQLite can't parse. Damaged pages cause the two excluded texts.
_UNKNOWN_SCHEMA = re.compile(r"malformed database schema \(.*\) - (?!invalid rootpage|orphan index)", re.DOTALL)
_UNREAD = re.compile(r"unable to get the page\. error code=(\d+)|failed to get page ")
_CORRUPT = 11  # https://www.sqlite.org/rescode.html
# Findings about a table that was left out because its definition can't be parsed.
_OF_UNKNOWN = re.compile(r"^\*\*\* in database main \*\*\*$|never used$|max rootpage .* disagrees")
# Features that an application adds to SQLite, or another version has, and this one lacks.
_LACKS = re.compile(
    r"no such (?:collation sequence|function|module|tokenizer)|unknown (?:function|tokenizer)|unsafe use of"
    r"|unsupported file format"
)
_DAMAGE = re.compile(r"malformed|not a database")  # Python has the error's name from 3.11 on
_TROUBLE = re.compile(r"disk I/O error|unable to open|is full|locked|readonly")

Answer = t.TypeVar("Answer")


@dataclass(frozen=True)
class _Findings:
    """The findings of SQLite's check: damage, and values that violate a constraint of their table."""

    damage: list[str]
    broken_values: list[str]

    def without_unknown_tables(self) -> _Findings:
        return _Findings([line for line in self.damage if not _OF_UNKNOWN.search(line)], self.broken_values)

    def judge(self) -> str:
        """Return a remark on an undamaged database. Raises StoreFailed, Inconclusive or ContentInvalid for others."""
        unread = [line for line in self.damage if _is_unread(line)]
        if unread:
            raise StoreFailed(f"SQLite can't read the copy that it checks: {unread[0]}.", "See that the disk works and has room.")
        lacking = [line for line in self.damage if _LACKS.search(line)]
        if lacking:
            raise _lacking(lacking[0])
        if self.damage:
            shown = "; ".join(self.damage[:_DAMAGE_SHOWN])
            raise ContentInvalid(f"SQLite's integrity check says: {shown}.", "Take another backup.")
        if not self.broken_values:
            return ""
        return (
            f"{len(self.broken_values)} of its values break the rules of their tables, the first of them: {self.broken_values[0]}"
        )


class Inspection:
    """A database file that is open for a check."""

    def __init__(self, connection: sqlite3.Connection, seconds: float, is_stopped: t.Callable[[], bool]) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._is_stopped = is_stopped
        self.is_abandoned = False

    def check(self) -> str:
        """Check that the file is undamaged. Return a remark on it, usually "".

        Raises ContentInvalid for damage, Inconclusive if this SQLite can't check it, StoreFailed if the disk fails.
        """
        try:
            return self._run(self._examine).judge()
        except Inconclusive:
            # Check the other tables for damage. One that can't be parsed is left out, so that its pages seem to be unused.
            with contextlib.suppress(Inconclusive):
                self._run(lambda: self._connection.execute("PRAGMA writable_schema=ON").fetchall())
                self._run(self._examine).without_unknown_tables().judge()
            raise

    def count(self) -> tuple[int, int]:
        """Return the numbers of tables and rows, without virtual tables, whose rows are their module's."""
        return self._run(self._count)

    def _examine(self) -> _Findings:
        damage: list[str] = []
        broken: list[str] = []
        for (text,) in self._connection.execute(f"PRAGMA integrity_check({_MOST_FINDINGS})"):
            if _BREAKS_RULE.match(text):
                broken.append(text)
            elif text != "ok":
                damage += text.splitlines()
        return _Findings(damage, broken)

    def _count(self) -> tuple[int, int]:
        names = [name for name, sql in self._connection.execute(_TABLES).fetchall() if not _VIRTUAL.match(sql or "")]
        rows = [self._connection.execute(f"SELECT count(*) FROM main.{_quote(name)}").fetchone()[0] for name in names]
        return len(names), sum(rows)

    def _run(self, work: t.Callable[[], Answer]) -> Answer:
        """Do work in a thread. When the time or the run is over, interrupt the work, and abandon it if it does not end."""
        if self._is_stopped():
            raise Interrupted("The run was ended before SQLite's check.", "Run it again.")
        answers: list[Answer] = []
        errors: list[BaseException] = []

        def do() -> None:
            try:
                answers.append(work())
            except BaseException as error:  # raised again below
                errors.append(error)

        thread = threading.Thread(target=do, name="sqlite", daemon=True)
        thread.start()
        try:
            self._wait(thread)
        except BaseException:
            self._interrupt(thread)
            raise
        if errors:
            raise _translated(errors[0]) from errors[0]
        return answers[0]

    def _wait(self, thread: threading.Thread) -> None:
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            if self._is_stopped():
                raise Interrupted("The run was ended in the middle of SQLite's check.", "Run it again.")
            if thread.is_alive() and time.monotonic() > self._deadline:
                raise _too_much(f"takes more than the {self._seconds:.0f} seconds that a database of its size gets")

    def _interrupt(self, thread: threading.Thread) -> None:
        self._connection.interrupt()
        thread.join(_GRACE_SECONDS)
        self.is_abandoned = thread.is_alive()


@contextlib.contextmanager
def inspecting(path: str, descriptor: int, is_stopped: t.Callable[[], bool]) -> t.Iterator[Inspection]:
    """Open a file for a check. ``descriptor`` identifies the file, which SQLite opens by its name."""
    facts = os.fstat(descriptor)
    others = len(descriptors_of(facts))
    try:
        connection = connect(path, _IMMUTABLE)
    except BackupError as error:
        raise StoreFailed(
            f"SQLite can't open {path}, whose path has {len(os.fsencode(path))} bytes.",
            "See that the path is shorter than 500 bytes (TMPDIR for a verification), and that the disk works.",
        ) from error
    inspection = Inspection(connection, LEAST_SECONDS + facts.st_size / BYTES_A_SECOND, is_stopped)
    try:
        if len(descriptors_of(facts)) <= others:
            raise StoreFailed(
                f"{path} was replaced by somebody else while it was checked.", "See who else may write to its folder."
            )
        _limit(connection)
        yield inspection
    finally:
        if not inspection.is_abandoned:  # closing would wait for the thread
            connection.close()


def _limit(connection: sqlite3.Connection) -> None:
    for pragma in (
        f"hard_heap_limit={HEAP_BYTES}",  # from SQLite 3.31 on; for the whole process, which does nothing else with SQLite
        "trusted_schema=OFF",
        "cell_size_check=ON",
        "mmap_size=0",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _translated(error: BaseException) -> BaseException:
    """Convert an error of SQLite's to one about the database or about this host."""
    text = str(error)
    if isinstance(error, MemoryError) or "too big" in text:
        return _too_much(f"needs more than the {HEAP_BYTES >> 20} MiB of memory that it gets")
    if not isinstance(error, sqlite3.Error):
        return error
    if _LACKS.search(text) or _UNKNOWN_SCHEMA.search(text):
        return _lacking(text)
    if _DAMAGE.search(text):
        return ContentInvalid(f"SQLite says of the database: {text}.", "Take another backup.")
    if _TROUBLE.search(text):
        return StoreFailed(f"SQLite can't read the copy that it checks: {text}.", "See that the disk works and has room.")
    return Inconclusive(f"SQLite ended its check: {text}.", "Check it with the application.")


def _lacking(text: str) -> Inconclusive:
    return Inconclusive(
        f"This host's SQLite, {sqlite3.sqlite_version}, lacks what the database uses: {text}.",
        "Check it with the application, or with the version of SQLite that it has.",
    )


def _too_much(what: str) -> Inconclusive:
    return Inconclusive(
        f"SQLite's check {what}.",
        "Restore it beside and run PRAGMA integrity_check as a user without rights and with limits of its own (systemd-run -p "
        "MemoryMax= -p RuntimeMaxSec=): a database can be made to use up a host.",
    )


def _is_unread(finding: str) -> bool:
    """Return whether a finding reports an error in reading a page, of the disk or for lack of memory, and no damage."""
    match = _UNREAD.search(finding)
    return match is not None and int(match[1] or 0) & 0xFF != _CORRUPT


def _quote(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'

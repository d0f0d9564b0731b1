"""The tables at the end of the role's runs, from the results that its tasks registered."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._overview.expected import ASKED, Expected
from ansible_collections.lastgood.database.plugins.module_utils._overview.freshness import SAFE
from ansible_collections.lastgood.database.plugins.module_utils._text import bounded, lines

Values = t.Mapping[str, t.Any]
Row = dict[str, str]

_LONGEST_NOTE = 160  # characters: about a line of a wide terminal
_WIDEST_CELL = 73  # characters: the longest name in PostgreSQL, and " (partial)"
_LONGEST_TITLE = 255  # characters: a source in brackets, with its folders
_LONGEST_FILENAME = 255  # never cut, since other modules take it; in the last column, it widens nothing
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))
_WHOLE = ("note", "next", "reason")  # in lines of their own, or in the last column
_RIGHT = ("size", "tables", "rows", "seconds")
_UNREADABLE = {"note": "its results can't be read"}
_WOULD = {"created": "would create", "unchanged": "unchanged", "fresh": "fresh", "failed": "failed"}


class Table(t.NamedTuple):
    """The columns of a table, the host's variable with its results, and the function that makes rows of them."""

    variable: str
    columns: tuple[str, ...]
    rows_of: t.Callable[[Values, bool], list[Row]]


def lines_of(table: Table, hosts: t.Mapping[str, Values], *, check_mode: bool = False) -> list[str]:
    """Return the lines of one table for these hosts. ``hosts`` has the variables of each, in the order to show them.

    A row that has only ``note`` is shown as the host and the note. In other rows ``note``, and ``next`` with what to do, follow
    on lines of their own. ``title`` names a whole source in the column of the database, and does not widen it.
    """
    rows = [
        {"host": _cell("host", host), **{name: _cell(name, lines(text).replace("\n", " ")) for name, text in row.items()}}
        for host, variables in hosts.items()
        for row in _rows(table, variables, check_mode) or [{"note": "nothing to show"}]
    ]
    columns = [name for name in ("host", *table.columns) if name != "source" or _needs_source(table, rows)]
    columns = [name for name in columns if name != "sent" or any(row.get("sent") for row in rows)]
    whole = [row for row in rows if row.keys() - {"host", "note"}]
    width = {name: max(len(name), *(len(row.get(name, "")) for row in whole), 0) for name in columns}
    width["host"] = max(len("host"), *(len(row["host"]) for row in rows), 0)
    shown = [_line({name: name for name in columns}, columns, width)]
    for row in rows:
        note = row.get("note", "")
        if row.keys() - {"host", "note"}:
            shown.append(_line(row, columns, width))
            shown += [f"{'':{width['host']}}    {text}" for text in (note, row.get("next", "")) if text]
        else:
            shown.append(f"{row['host']:{width['host']}}  {note}")
    return shown


def _cell(name: str, text: str) -> str:
    """Return a text, without its middle if it is too long: one host must not widen the table for all."""
    most = {**dict.fromkeys(_WHOLE, len(text)), "backup": _LONGEST_FILENAME, "title": _LONGEST_TITLE}.get(name, _WIDEST_CELL)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2) :]}"


def _rows(table: Table, variables: Values, check_mode: bool) -> list[Row]:
    """Return the rows of a host. A hostile host may return any values, which must not hide other hosts."""
    try:
        rows = table.rows_of(variables, check_mode)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return [_UNREADABLE]
    return rows if all(isinstance(text, str) for row in rows for text in row.values()) else [_UNREADABLE]


def _needs_source(table: Table, rows: list[Row]) -> bool:
    """Return whether to show the source. Most tables need it only if a host has several databases of one name."""
    if table not in (BACKED_UP, NOT_FRESH, RESTORED):
        return True
    seen: dict[tuple[str, str], str] = {}
    return any(
        seen.setdefault((row["host"], row.get("database", "")), row.get("source", "")) != row.get("source", "") for row in rows
    )


def _line(row: Row, columns: list[str], width: dict[str, int]) -> str:
    shown = {**row, "database": f"({row['title']})"} if "title" in row else row
    cells = (f"{shown.get(name, ''):{'>' if name in _RIGHT else '<'}{width[name]}}" for name in columns)
    return "  ".join(cells).rstrip()


# --- The nightly run --------------------------------------------------------------------------------------------


def _backed_up(variables: Values, check_mode: bool) -> list[Row]:
    """Return a row for each database of a host, and one for each source without any result."""
    runs = variables.get("backup_runs") or []
    last_good = _last_good(variables)
    rows: list[Row] = []
    for run in runs:
        dumped, uploaded = run.get("dumped") or {}, run.get("uploaded") or {}
        records = dumped.get("backups") or []
        rows += [_backup_row(record, uploaded, last_good, check_mode) for record in records]
        if not records:
            rows.append(_source_row(run["title"], dumped))
    rows += _died(variables, runs)
    if len(runs) < max(1, len(variables.get("backup_sources") or [])):
        rows.append({"note": "unreachable, or failed before the backup"})
    return rows


def _source_row(title: str, dumped: Values) -> Row:
    if dumped.get("failed", False):
        return {"title": title, "outcome": "failed", **_next(dumped.get("msg"))}
    return {"title": title, "outcome": "nothing to back up"}


def _died(variables: Values, runs: t.Iterable[Values]) -> list[Row]:
    """Return a row for each database whose last run died, for example because the kernel killed it for lack of memory."""
    shown = {_group_of(record) for run in runs for record in (run.get("dumped") or {}).get("backups") or []}
    return [
        {
            "database": _title(one),
            "source": str(one.get("source") or ""),
            "outcome": "died",
            "size": "" if one["newest_good"] is None else _size(_record_of(one["newest_good"], found["files"])),
            "age": _age("died", one["age_seconds"]),
            **_next(one["last_run"]["msg"]),
        }
        for found in _facts(variables)
        for one in found["databases"]
        if (one.get("last_run") or {}).get("outcome") == "died" and _group_of(one) not in shown
    ]


def _backup_row(record: Values, uploaded: Values, last_good: dict[tuple[str, ...], Values], check_mode: bool) -> Row:
    outcome = record["outcome"]
    shown = last_good.get(_group_of(record), {}) if outcome == "failed" else record
    row = {
        "database": _title(record),
        "source": str(record.get("source") or ""),
        "outcome": _WOULD[outcome] if check_mode else outcome,
        "size": _size(shown),
        "age": _age(outcome, shown.get("age_seconds")),
        **_next(record.get("remedy")),
    }
    if "uploaded" in uploaded or uploaded.get("failed"):
        sent = [*uploaded.get("uploaded", []), *uploaded.get("up_to_date", [])]
        failed = [one["filename"] for one in uploaded.get("failed_uploads", [])]
        is_sent = shown.get("filename") in sent and shown.get("filename") not in failed
        row = {**_next(None if is_sent else uploaded.get("msg")), **row, "sent": "yes" if is_sent else "no"}
    return row


def _next(text: t.Any) -> Row:
    """Return the row's next step, shortened if it is too long for a line."""
    return {} if not text else {"next": bounded(" ".join(str(text).split()), _LONGEST_NOTE)}


def _size(record: Values) -> str:
    size = record.get("size_bytes")
    return "" if size is None else size_in_words(size)


def _age(outcome: str, age: int | None) -> str:
    """Return the age of the last good backup. Check mode does not know it for a backup that it would create."""
    if age is None:
        return "" if outcome == "created" else "NONE"
    return age_in_words(age)


def _last_good(variables: Values) -> dict[tuple[str, ...], Values]:
    """Return the last good backup of each group, from the facts at the end of the run."""
    return {
        _group_of(one): _record_of(one["newest_good"], found["files"]) | {"age_seconds": one["age_seconds"]}
        for found in _facts(variables)
        for one in found["databases"]
        if one["newest_good"] is not None
    }


def _facts(variables: Values) -> list[Values]:
    results = (variables.get("backup_inventory") or {}).get("results") or []
    return [result["ansible_facts"]["database_backups"] for result in results if "ansible_facts" in result]


def _record_of(filename: str, files: list[Values]) -> dict[str, t.Any]:
    """Return the record of a backup. The facts may lack it, since they have one page of backups."""
    return next((dict(one) for one in files if one["filename"] == filename), {"filename": filename})


def _group_of(record: Values) -> tuple[str, ...]:
    return tuple(str(record.get(key)) for key in ("origin", "engine", "instance", "kind", "database", "partial_arguments"))


# --- Verification -----------------------------------------------------------------------------------------------


def _verified(variables: Values, check_mode: bool) -> list[Row]:
    """Return a row for each backup of a host that was verified, and one for each directory without a verdict."""
    verified = variables.get("backup_verified")
    if verified is None:
        return [{"note": "unreachable, or failed before"}]
    rows: list[Row] = []
    results = verified.get("results") or []
    for result in results:
        if "verified" in result:
            rows += [_verdict_row(one) for one in result["verified"]]
        else:
            rows.append(
                {"note": "unreachable" if result.get("unreachable") else _note(result.get("msg", "nothing was verified"))}
            )
    if not results:
        rows.append({"note": _note(verified["msg"]) if verified.get("failed") else "nothing was verified"})
    return rows


def _verdict_row(one: Values) -> Row:
    row = {
        "database": _title(one),
        "source": str(one.get("source") or ""),
        "level": one["level"],
        "verdict": one["verdict"],
        "tables": _number(one["tables"]),
        "rows": _number(one["rows"]),
        "seconds": _number(one["seconds"]),
        "backup": one["filename"],
    }
    return row if one["verdict"] == "passed" else {**row, "note": _note(one["detail"])}


# --- Restores ---------------------------------------------------------------------------------------------------


def _restored(variables: Values, check_mode: bool) -> list[Row]:
    """Return a row for each database of a host that was to be restored, and one for each directory that can't be read."""
    restored = variables.get("backup_restored")
    if restored is None:
        return [{"note": "unreachable, or failed before"}]
    return [_restore_row(result, check_mode) for result in restored["results"]] or [{"note": "nothing to restore"}]


def _restore_row(result: Values, check_mode: bool) -> Row:
    if result.get("title"):
        return {"title": result["title"], "outcome": "failed", **_next(result["msg"])}
    row = {"database": _title(result), "source": str(result.get("source") or "")}
    if "restored" not in result:
        return {**row, "outcome": "failed", **_next(result.get("msg") or "It was not restored.")}
    if result["restored"] is None:
        return {**row, "outcome": "exists", "note": "It was left as it is."}
    row["outcome"] = "would restore" if check_mode else "restored"
    previous = f"The old one is {result['previous']}." if result.get("previous") else ""
    seconds = "" if check_mode else _number(result.get("seconds"))
    return {**row, "seconds": seconds, "backup": result["restored"]["filename"], "note": previous}


# --- The check before a run -------------------------------------------------------------------------------------


def _checked(variables: Values, check_mode: bool) -> list[Row]:
    """Return a row for each problem of a host, each once, errors first."""
    checked = variables.get("backup_checked")
    if checked is None:
        return [{"note": "unreachable, or failed before"}]
    seen: dict[tuple[str, str], Row] = {}
    for source in checked:
        for problem in source["problems"]:
            row = _problem_row(problem, source["title"])
            seen.setdefault((row["code"], row["note"]), row)
    rows = sorted(seen.values(), key=lambda row: row["severity"] != "error")
    return rows or [{"note": "no problems"}]


def _problem_row(problem: Values, title: str) -> Row:
    """Return the row of a problem, with its texts in full length: a remedy may be a command to paste."""
    return {
        "severity": problem["severity"],
        "code": problem["code"],
        "check": problem["check"],
        "source": title,
        "note": " ".join(problem["problem"].split()),
        "next": " ".join(problem["remedy"].split()),
    }


# --- Freshness --------------------------------------------------------------------------------------------------


def freshness_lines(expected: t.Mapping[str, t.Sequence[Expected]]) -> list[str]:
    """Return the table of the databases that are not fresh on these hosts, or one line that says that all are."""
    wrong = {host: {"expected": found} for host, found in expected.items() if any(one.judgement.state != SAFE for one in found)}
    if wrong:
        return lines_of(NOT_FRESH, wrong)
    databases = sum(map(len, expected.values()))
    return [f"Fresh: all {databases} databases of {len(expected)} hosts." if databases else "No database was asked for."]


def _not_fresh(variables: Values, check_mode: bool) -> list[Row]:
    """Return a row for each database of a host that is not safe."""
    return [_freshness_row(one) for one in variables["expected"] if one.judgement.state != SAFE]


def _freshness_row(one: Expected) -> Row:
    words = {"state": one.judgement.state, "reason": one.judgement.reason}
    if not one.name:
        return {**words, "title": one.source or "all"}
    return {**words, "database": one.name, "source": one.source, "age": _age("", one.age_seconds)}


# --- Words ------------------------------------------------------------------------------------------------------


def age_in_words(seconds: int) -> str:
    """Return an age in its largest unit, such as ``3 days``."""
    for length, unit in _UNITS:
        count = seconds // length
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "just now"


def size_in_words(size: int) -> str:
    """Return a size in bytes with the unit that fits it."""
    if size < 1024:
        return f"{size} B"
    number = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:.1f} TiB"


def _title(record: Values) -> str:
    name = " ".join(str(record.get("database") or record.get("kind")).split()) or "?"
    return f"{name} (partial)" if record.get("partial") else name


def _number(value: t.Any) -> str:
    return "" if value is None else str(value)


def _note(text: t.Any) -> str:
    """Return a text in one line, cut if it would fill several."""
    words = re.sub(r"\s+", " ", str(text)).strip()
    return words if len(words) <= _LONGEST_NOTE else f"{words[: _LONGEST_NOTE - 1]}…"


BACKED_UP = Table("backup_runs", ("database", "source", "outcome", "size", "age", "sent"), _backed_up)
VERIFIED = Table("backup_verified", ("database", "source", "level", "verdict", "tables", "rows", "seconds", "backup"), _verified)
RESTORED = Table("backup_restored", ("database", "source", "outcome", "seconds", "backup"), _restored)
NOT_FRESH = Table(ASKED, ("database", "source", "state", "age", "reason"), _not_fresh)
CHECKED = Table("backup_checked", ("severity", "code", "check", "source"), _checked)
TABLES = {"backup": BACKED_UP, "verify": VERIFIED, "check": CHECKED, "fresh": NOT_FRESH, "restore": RESTORED}

"""Shows the results of modules to people, as tables and sentences."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._overview.expected import Expected
from ansible_collections.lastgood.database.plugins.module_utils._overview.freshness import SAFE
from ansible_collections.lastgood.database.plugins.module_utils._overview.summary import age_in_words, size_in_words
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Result
from ansible_collections.lastgood.database.plugins.module_utils._program.output import Output
from ansible_collections.lastgood.database.plugins.module_utils._text import one_line

Row = dict[str, str]


def show(verb: str, result: Result, output: Output, *, check_mode: bool) -> None:
    """Print the result of a verb's module. Its failure and its warnings are printed by ``trouble``."""
    shown = _SHOWN.get(verb)
    if shown is not None:
        shown(result, output, check_mode)


def trouble(result: Result, title: str, output: Output) -> None:
    """Print the warnings and the failure of a result."""
    of = f"{title}: " if title else ""
    for warning in result.get("warnings") or []:
        output.complain(f"warning: {of}{one_line(str(warning))}")
    if result.get("failed"):
        output.complain(f"{of}{one_line(str(result.get('msg')))}")
    if result.get("exception"):
        output.complain(f"Please report this with: {one_line(str(result['exception']))}")


def difference(result: Result, output: Output) -> None:
    """Print the diff of a result."""
    import difflib

    diffs = result.get("diff") or []
    for diff in diffs if isinstance(diffs, list) else [diffs]:
        before, after = (str(diff.get(side, "")).splitlines() for side in ("before", "after"))
        old, new = (str(diff.get(f"{side}_header") or side) for side in ("before", "after"))
        output.lines(difflib.unified_diff(before, after, old, new, lineterm=""))


# --- Each verb --------------------------------------------------------------------------------------------------


def _list(result: Result, output: Output, check_mode: bool) -> None:
    facts = _facts(result)
    if facts is None:
        return
    last_good = {one["newest_good"] for one in facts["databases"]}
    rows = [
        {
            "database": _database(one),
            "state": one["state"],
            "size": size_in_words(one["size_bytes"]),
            "age": age_in_words(one["age_seconds"]),
            "last good": "yes" if one["filename"] in last_good else "",
            "backup": one["filename"],
        }
        for one in facts["files"]
    ]
    _titled(f"{facts['directory']}: {_some(facts['count'], 'backup')}, {size_in_words(facts['total_bytes'])}", rows, output)
    if facts["pages"] > 1:
        output.lines([f"Page 1 of {facts['pages']}: --page 2 shows the next, --page-size 0 all."])


def _databases(result: Result, output: Output, check_mode: bool) -> None:
    facts = _facts(result)
    if facts is None:
        return
    rows = [
        {
            "database": _database(one),
            "origin": one["origin"] or "",
            "age": "NONE" if one["newest_good"] is None else age_in_words(one["age_seconds"]),
            "last run": (one.get("last_run") or {}).get("outcome", ""),
            "last good backup": one["newest_good"] or "NONE",
        }
        for one in facts["databases"]
    ]
    _titled(facts["directory"], rows, output)


def _facts(result: Result) -> Result | None:
    facts: Result | None = (result.get("ansible_facts") or {}).get("database_backups")
    return facts


def _backed_up(result: Result, output: Output, check_mode: bool) -> None:
    rows = [record_row(record) for record in result.get("backups") or []]
    output.table(("database", "outcome", "size", "age", "backup", "next"), rows)


def record_row(record: Result) -> Row:
    """Return the row of a database that was backed up, or was not."""
    failed = record["outcome"] == "failed"
    return {
        "database": _database(record),
        "outcome": record["outcome"],
        "size": "" if failed or record.get("size_bytes") is None else size_in_words(record["size_bytes"]),
        "age": "" if record.get("age_seconds") is None else age_in_words(record["age_seconds"]),
        "backup": record.get("filename") or "",
        "next": one_line(str(record["msg"])) if failed else "",
    }


def _verified(result: Result, output: Output, check_mode: bool) -> None:
    rows = [
        {
            "database": _database(one),
            "level": one["level"],
            "verdict": one["verdict"],
            "tables": _number(one["tables"]),
            "rows": _number(one["rows"]),
            "seconds": _number(one["seconds"]),
            "backup": one["filename"],
            "detail": one_line(str(one["detail"])) if one["verdict"] != "passed" else "",
        }
        for one in result.get("verified") or []
    ]
    output.table(("database", "level", "verdict", "tables", "rows", "seconds", "backup", "detail"), rows)


def _restored(result: Result, output: Output, check_mode: bool) -> None:
    restored = result.get("restored")
    if restored is None:
        if not result.get("failed"):
            output.lines(["The database exists, and was left as it was."])
        return
    verb = "Would restore" if check_mode else "Restored"
    output.lines([f"{verb} {restored['target']} from {restored['filename']}, of {restored['created_at']} UTC."])
    if result.get("previous"):
        output.lines([f"The old one is {result['previous']}."])


def _archived(result: Result, output: Output, check_mode: bool) -> None:
    if result.get("failed"):
        return
    verb = "Would write" if check_mode and result["changed"] else "Wrote" if result["changed"] else "Unchanged:"
    size = f", {size_in_words(result['bytes'])}" if result.get("bytes") is not None else ""
    output.lines([f"{verb} {result['dest']} with {_some(len(result['members']), 'backup')}{size}."])


def _pruned(result: Result, output: Output, check_mode: bool) -> None:
    rows = [
        {"outcome": outcome, "database": _database(one), "backup": one["filename"], "reason": _reason(one)}
        for outcome, key in (("would delete" if check_mode else "deleted", "deleted"), ("kept", "kept"))
        for one in result.get(key) or []
    ]
    output.table(("outcome", "database", "backup", "reason"), rows)
    if result.get("freed_bytes"):
        output.lines([f"{size_in_words(result['freed_bytes'])} freed."])


def _reason(one: Result) -> str:
    found = one.get("reasons") or one.get("reason") or ""
    return ", ".join(map(str, found)) if isinstance(found, list) else str(found)


def _uploaded(result: Result, output: Output, check_mode: bool) -> None:
    words = (("would be sent" if check_mode else "sent", "uploaded"), ("up to date", "up_to_date"), ("not sent", "not_sent"))
    rows = [
        {"outcome": outcome, "backup": one["filename"] if isinstance(one, dict) else str(one)}
        for outcome, key in words
        for one in result.get(key) or []
    ]
    rows += [
        {"outcome": "failed", "backup": one["filename"], "reason": one_line(str(one["msg"]))}
        for one in result.get("failed_uploads") or []
    ]
    output.table(("outcome", "backup", "reason"), rows)


def _checked(result: Result, output: Output, check_mode: bool) -> None:
    rows = [
        {
            "severity": one["severity"],
            "check": one["check"],
            "database": one["database"] or "",
            "problem": one_line(one["problem"]),
            "next": one_line(one["remedy"]),
        }
        for one in result.get("problems") or []
    ]
    if rows:
        output.table(("severity", "check", "database", "problem", "next"), rows)
    elif "problems" in result:
        output.lines(["No problems."])


def _done(result: Result, output: Output, check_mode: bool) -> None:
    if not result.get("failed"):
        output.lines(["Done." if result.get("changed") else "Nothing to change."])


def _passed(result: Result, output: Output, check_mode: bool) -> None:
    if not result.get("failed"):
        output.lines(["The server accepts backups."])


_SHOWN: dict[str, t.Callable[[Result, Output, bool], None]] = {
    "list": _list,
    "facts": _databases,
    "backup": _backed_up,
    "verify": _verified,
    "drill": _verified,
    "restore": _restored,
    "archive": _archived,
    "prune": _pruned,
    "upload": _uploaded,
    "check": _checked,
    "label": _done,
    "metrics": _done,
    "sftp-check": _passed,
}


# --- Status -----------------------------------------------------------------------------------------------------


def freshness(expected: t.Sequence[Expected], output: Output) -> None:
    """Print every database with its judgement. Those that are not safe come first."""
    rows = [
        {
            "database": one.name or f"({one.source or 'all'})",
            "state": one.judgement.state,
            "age": "" if one.age_seconds is None else age_in_words(one.age_seconds),
            "source": one.source if one.name else "",
            "reason": one.judgement.reason,
        }
        for one in sorted(expected, key=lambda one: one.judgement.state == SAFE)
    ]
    output.table(("database", "state", "age", "source", "reason"), rows)


def freshness_values(expected: t.Sequence[Expected]) -> list[Result]:
    """Return the judgements for JSON output."""
    return [
        {
            "database": one.name or None,
            "source": one.source,
            "state": one.judgement.state,
            "age_seconds": one.age_seconds,
            "problems": [problem._asdict() for problem in one.judgement.problems],
        }
        for one in expected
    ]


# --- Words ------------------------------------------------------------------------------------------------------


def _titled(title: str, rows: list[Row], output: Output) -> None:
    output.lines([title])
    output.table(tuple(rows[0]) if rows else (), rows)


def _database(record: Result) -> str:
    name = one_line(str(record.get("database") or record.get("kind") or "?"))
    return f"{name} (partial)" if record.get("partial") else name


def _number(value: t.Any) -> str:
    return "" if value is None else str(value)


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"

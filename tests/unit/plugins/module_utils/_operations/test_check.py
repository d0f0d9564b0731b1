"""The checks before a run: all are made whatever one finds, and each finding has its severity."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding
from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest
from ansible_collections.lastgood.database.plugins.module_utils._engines.checking import Check, Dumpable, Finding
from ansible_collections.lastgood.database.plugins.module_utils._errors import ConnectionRefused, DatabaseMissing, Interrupted
from ansible_collections.lastgood.database.plugins.module_utils._operations import check as module
from ansible_collections.lastgood.database.plugins.module_utils._operations.check import CheckRequest, check
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.contexts import context_at


class FakeChecker:
    """An engine's checks: each raises or yields what it is given."""

    def __init__(self, *found: Any) -> None:
        self._found = found

    def checks(self) -> list[Check]:
        return [(f"engine{number}", lambda found=found: self._find(found)) for number, found in enumerate(self._found)]

    def _find(self, found: Any) -> Iterator[Finding]:
        if isinstance(found, BaseException):
            raise found
        yield from found

    def dumpable(self) -> list[Dumpable]:
        return [Dumpable("database", "app", "1")]

    def facts(self) -> dict[str, Any]:
        return {"server_version": "1", "programs": []}


def problem(text: str = "There is no database app.", severity: Any = "error") -> Finding:
    return Finding(DatabaseMissing(text, "Make it."), severity, "app")


def request_for(folder: Path, *found: Any, **over: Any) -> CheckRequest:
    request = CheckRequest("postgresql", FakeChecker(*found), LocalStore(str(folder / "backups")), "db7", Encoding("none"))
    return dataclasses.replace(request, **over)


def found_by(request: CheckRequest) -> list[tuple[str, str, str]]:
    outcome = check(request, context_at())
    return [
        (one["check"], one["severity"], one["code"]) for one in outcome.values["problems"] if one["code"] != "library_missing"
    ]


def test_a_check_that_fails_stops_no_other(tmp_path: Path) -> None:
    refused = ConnectionRefused("It refused.", "Start it.")
    request = request_for(tmp_path, refused, [problem(severity="warning"), problem("Another.")], OSError(5, "broken"))
    assert found_by(request) == [
        ("engine0", "error", "connection_refused"),
        ("engine1", "error", "database_missing"),
        ("engine2", "error", "store_failed"),
        ("engine1", "warning", "database_missing"),
    ]
    outcome = check(request, context_at())
    assert outcome.failure is not None
    assert (outcome.failure.code, "3 problems" in str(outcome.failure)) == ("connection_refused", True)
    assert outcome.values["checks"][-5:] == ["directory", "files", "space", "digest", "clock"]


def test_a_warning_is_no_failure_and_one_error_is_the_failure_itself(tmp_path: Path) -> None:
    assert check(request_for(tmp_path, [problem(severity="warning")]), context_at()).failure is None
    only = problem()
    assert check(request_for(tmp_path, [only]), context_at()).failure is only.error


def test_a_problem_that_several_checks_meet_is_reported_once(tmp_path: Path) -> None:
    assert found_by(request_for(tmp_path, [problem(), problem()], [problem()])) == [("engine0", "error", "database_missing")]


def test_a_run_that_is_stopped_reports_no_half_of_its_checks(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        check(request_for(tmp_path, Interrupted("Stopped.", "Again.")), context_at())


def test_the_clock_may_differ_by_the_tolerance(tmp_path: Path) -> None:
    now = context_at().clock()
    for minutes, expected in (
        (5, []),
        (-5, []),
        (6, [("clock", "error", "clock_wrong")]),
        (-6, [("clock", "error", "clock_wrong")]),
    ):
        request = request_for(tmp_path, controller_time=now + timedelta(minutes=minutes))
        assert found_by(request) == expected


def test_a_host_without_blake3_hears_of_it_only_where_that_costs_something(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sha:
        name = "sha256"

    def texts(*algorithms: str) -> list[str]:
        manifests = [type("M", (), {"content_digest": Digest(algorithm, "0")}) for algorithm in algorithms]
        newest: Any = {number: type("B", (), {"manifest": one}) for number, one in enumerate(manifests)}
        return [str(finding.error) for finding in module._digest(newest)]

    monkeypatch.setattr(module, "new_hash", Sha)
    monkeypatch.setattr(module, "_has_sha_instructions", lambda: True)
    assert texts("sha256") == []
    assert ["stores a copy" in text for text in texts("sha256", "blake3")] == [True]
    monkeypatch.setattr(module, "_has_sha_instructions", lambda: False)
    assert ["third longer" in text for text in texts()] == [True]


@pytest.mark.parametrize(
    ("free", "sizes", "copy", "expected"),
    [
        (100, [], 0, None),
        (100, [100], 0, None),
        (99, [100], 0, ("no_space", "error")),
        (150, [100, 60], 0, ("space_low", "warning")),
        (160, [100, 60], 0, None),
        (50, [], 51, ("no_space", "error")),
        (150, [100], 51, ("space_low", "warning")),
    ],
)
def test_the_largest_backup_has_to_fit_and_all_should(free: int, sizes: list[int], copy: int, expected: Any) -> None:
    found = [(one.error.code, one.severity) for one in module._room("/b", free, sizes, copy)]
    assert found == ([] if expected is None else [expected])

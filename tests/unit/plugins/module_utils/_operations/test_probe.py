"""The steps to a store in memory, and each that can fail."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ConnectionRefused,
    FileForbidden,
    NoSpace,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.probe import ProbeRequest, probe
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Step
from ansible_collections.lastgood.database.plugins.module_utils._stores.trial import PartialTrial
from ansible_collections.lastgood.database.tests.support.contexts import context_at
from ansible_collections.lastgood.database.tests.support.memory_store import MemoryStore

TRIAL = ["write", "read_back", "rename", "remove"]


class Distant(MemoryStore):
    """A store in memory behind a connection."""

    remembered = False

    def __init__(self, files: dict[str, bytes] | None) -> None:
        super().__init__(files)
        self.facts_of_server: dict[str, Any] = {"version": None}

    def steps(self) -> Iterator[Step]:
        yield "connect", self.connect

    def connect(self) -> None:
        self.facts_of_server = {"version": "1"}

    def server_facts(self) -> dict[str, Any]:
        return self.facts_of_server

    def free_bytes(self) -> int | None:
        return None

    def trial(self) -> PartialTrial:
        return PartialTrial(self)


def steps_of(result: Mapping[str, Any]) -> list[str]:
    return [step["name"] for step in result["steps"]]


def test_every_step_is_taken_and_nothing_is_left() -> None:
    files: dict[str, bytes] = {}
    report = probe(ProbeRequest(Distant(files)), context_at())
    result = report.values
    assert report.failure is None
    assert steps_of(result) == ["connect", "directory", *TRIAL]
    assert (result["version"], result["writable"], result["changed"], files) == ("1", True, False, {})


@pytest.mark.parametrize(("write_probe", "check_mode"), [(False, False), (True, True)])
def test_nothing_is_written_where_that_is_not_asked_for(write_probe: bool, check_mode: bool) -> None:
    result = probe(ProbeRequest(Distant({}), write_probe), context_at(check=check_mode)).values
    assert (steps_of(result), result["writable"]) == (["connect", "directory"], None)


def test_a_missing_place_is_made_and_in_check_mode_foretold() -> None:
    store = Distant(None)
    foretold = probe(ProbeRequest(store), context_at(check=True)).values
    assert (foretold["changed"], steps_of(foretold), store.exists()) == (True, ["connect", "directory"], False)
    made = probe(ProbeRequest(store), context_at()).values
    assert (made["changed"], steps_of(made), store.exists()) == (True, ["connect", "directory", *TRIAL], True)


def test_a_place_that_may_not_be_made_is_the_step_that_fails() -> None:
    store = Distant(None)
    store.creates_directory = False
    report = probe(ProbeRequest(store), context_at())
    assert report.failure is not None
    assert (report.failure.code, report.values["failed_step"]) == ("directory_missing", "directory")


def test_what_the_server_did_not_say_yet_is_null() -> None:
    class Silent(Distant):
        def connect(self) -> None:
            raise ConnectionRefused("Nobody listens.", "Start it.")

    result = probe(ProbeRequest(Silent({})), context_at()).values
    assert (result["failed_step"], result["version"], result["free_bytes"]) == ("connect", None, None)


@pytest.mark.parametrize(("method", "step"), [("write_from", "write"), ("add", "rename"), ("replace", "rename")])
def test_a_step_that_fails_leaves_no_file(method: str, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise NoSpace("Writing: the disk is full.", "Make room.")

    files: dict[str, bytes] = {}
    monkeypatch.setattr(Distant, method, refuse)
    report = probe(ProbeRequest(Distant(files)), context_at())
    result = report.values
    assert (result["failed_step"], result["writable"], files) == (step, step != "write", {})


def test_an_account_that_may_delete_nothing_is_spared_the_files() -> None:
    class WriteOnce(Distant):
        def remove(self, name: str) -> bool:
            raise FileForbidden("Deleting: permission denied.", "Check its rights.")

    files: dict[str, bytes] = {}
    store = WriteOnce(files)
    report = probe(ProbeRequest(store), context_at())
    result = report.values
    assert (steps_of(result), result["writable"], files) == (["connect", "directory"], None, {})
    assert "permission denied" in report.warnings[0]

"""What the action plugin asks a module for. tests/integration has what the module does."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._background import VARIABLE, Request, take_request

TOKEN = "0123456789abcdef" * 2


def test_a_request_is_taken_once_and_reaches_no_program_that_the_run_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"10 {TOKEN}")
    assert take_request() == Request(10.0, f"/tmp/.lastgood-{TOKEN}")
    assert VARIABLE not in os.environ
    assert take_request() is None


@pytest.mark.parametrize(
    "value", ["", "1", "x y", "1 ../../etc", f"1 {TOKEN}x", f"-1 {TOKEN}", f"1 {TOKEN.upper()}", f"1 {TOKEN}\n"]
)
def test_what_is_no_request_is_ignored(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert take_request() is None

"""The line that shows how far a host is, of what the host says."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._background import NOTHING_YET
from ansible_collections.lastgood.database.plugins.module_utils._progress_line import Reading, line, read

MIB, GIB = 1 << 20, 1 << 30


def output(*tasks: dict[str, Any], seconds: Any = 100.0) -> str:
    """Return what a host prints, after a message of the day."""
    return f"Welcome!\n{json.dumps({'lastgood_under_way': {'seconds': seconds, 'tasks': list(tasks)}})}\n"


def task(title: str = "app", done: Any = 0, expected: Any = None, seconds: Any = 10.0) -> dict[str, Any]:
    return {"title": title, "done_bytes": done, "expected_bytes": expected, "seconds": seconds}


def shown(*outputs: str) -> str:
    """Return the line of the last output."""
    readings = [read(text) for text in outputs]
    assert readings[-1] is not None
    return line("db7", readings[-1], readings[-2] if len(readings) > 1 else None)


def test_a_line_has_the_share_the_sizes_the_speed_and_the_time_left() -> None:
    done = int(1.2 * GIB)
    before = output(task(done=done - 2100 * MIB // 2, expected=int(3.5 * GIB)), seconds=95.0)
    text = shown(before, output(task(done=done, expected=int(3.5 * GIB))))
    assert text == "db7  app  34 %  1.2 of 3.5 GiB  210 MiB/s  12 s left"


def test_the_first_line_has_the_speed_since_the_work_began() -> None:
    assert shown(output(task(done=50 * MIB, expected=100 * MIB))) == "db7  app  50 %  50.0 of 100 MiB  5.0 MiB/s  11 s left"


def test_the_speed_is_that_of_the_work_at_hand() -> None:
    before = output(task("shop", done=5, expected=5), seconds=99.0)
    assert "5.0 MiB/s" in shown(before, output(task(done=50 * MIB)))
    went_back = output(task(done=60 * MIB), seconds=99.0)
    assert "5.0 MiB/s" in shown(went_back, output(task(done=50 * MIB)))


@pytest.mark.parametrize("expected", [None, 10])
def test_without_a_size_to_expect_or_beyond_it_there_is_no_share(expected: int | None) -> None:
    assert shown(output(task(done=11, expected=expected))) == "db7  app  11 B  1 B/s"


def test_work_that_stands_still_has_no_speed() -> None:
    before = output(task(done=MIB, expected=2 * MIB), seconds=99.0)
    assert shown(before, output(task(done=MIB, expected=2 * MIB))) == "db7  app  50 %  1.0 of 2.0 MiB"


def test_what_is_done_has_no_time_left() -> None:
    assert shown(output(task(done=MIB, expected=MIB))) == "db7  app  100 %  1.0 of 1.0 MiB  102 KiB/s"


def test_what_runs_at_the_same_time_is_one_line() -> None:
    text = shown(output(task(done=MIB, expected=MIB * 3), task("shop", done=MIB, expected=MIB)))
    assert text.startswith("db7  app, shop  50 %  2.0 of 4.0 MiB")
    assert shown(output(task(done=MIB, expected=MIB * 3), task("shop", done=MIB))).startswith("db7  app, shop  2.0 MiB")


@pytest.mark.parametrize(
    ("left", "words"),
    [(59, "59 s left"), (60, "1 min left"), (3599, "59 min left"), (3700, "1 h 1 min left"), (10**6, "11 days left")],
)
def test_the_time_left_is_in_words(left: int, words: str) -> None:
    assert shown(output(task(done=10**4, expected=10**4 + (left - 1) * 10**3 + 500))).endswith(words)


def test_a_title_can_neither_move_the_cursor_nor_fill_the_screen() -> None:
    text = shown(output(task("a\x1b[2Jb\nc" + "x" * 1000)))
    assert "\x1b" not in text
    assert "\n" not in text
    assert len(text) < 120


@pytest.mark.parametrize(
    "text",
    [
        "",
        NOTHING_YET,
        output(),
        '{"lastgood_under_way": 1}',
        '{"lastgood_under_way": {"tasks": [], "seconds": 1}',
        output(task(done="x")),
        output(task(done=None)),
        output(task(seconds=[])),
        output({}),
        output(task(), seconds=float("nan")),
        output(task(done=-1)),
        output(task(done=2**63)),
        output(task(done=float("inf"))),
        '{"lastgood_under_way": ' + "[" * 100_000,
    ],
)
def test_what_can_not_be_understood_is_no_reading(text: str) -> None:
    assert read(text) is None


def test_absurd_numbers_have_a_line_all_the_same() -> None:
    for seconds in (-1e308, 0.0, 1e308):
        assert line("db7", Reading("app", seconds, 0.0, 2**63, 2**66), Reading("app", 0.0, 0.0, 0, None))

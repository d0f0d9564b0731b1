"""Tables of the program."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io

from ansible_collections.lastgood.database.plugins.module_utils._program.output import Output

ROWS = [{"database": "app", "state": "good", "size": "1.0 MiB"}, {"database": "wiki", "state": "corrupt", "size": "3 B"}]


def table(*, colours: bool) -> list[str]:
    stream = io.StringIO()
    Output(stream, io.StringIO(), colours=colours).table(("database", "state", "size", "note"), ROWS)
    return stream.getvalue().splitlines()


def test_columns_are_aligned_and_empty_ones_left_out() -> None:
    assert table(colours=False) == ["database  state       size", "app       good     1.0 MiB", "wiki      corrupt      3 B"]


def test_colours_do_not_move_columns() -> None:
    plain, coloured = table(colours=False), table(colours=True)
    assert coloured[1] == plain[1].replace("good", "\x1b[32mgood\x1b[0m")
    assert coloured[2] == plain[2].replace("corrupt", "\x1b[31mcorrupt\x1b[0m")


def test_nothing_is_no_table() -> None:
    stream = io.StringIO()
    Output(stream, io.StringIO()).table(("database",), [])
    assert stream.getvalue() == ""

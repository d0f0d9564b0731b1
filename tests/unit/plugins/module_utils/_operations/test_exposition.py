"""The text of metrics: Prometheus' own parser reads back what was written, whatever names people choose."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.lastgood.database.plugins.module_utils._operations.exposition import (
    Labels,
    Metric,
    Value,
    exposition,
    without_bookkeeping,
)
from ansible_collections.lastgood.database.plugins.module_utils._text import escaped

SIZE = Metric("size_bytes", "How large it is.")
TIME = Metric("seen_timestamp_seconds", "When it was seen.", is_bookkeeping=True)

# Everything that has a meaning for the format, for a terminal, or for another way of splitting lines.
HOSTILE = st.text(st.sampled_from('\\"n\n\r{}=, #\x00\x0b\x0c\x1b\x85\u2028\u202e\udcffx0a5c%é'), max_size=8)


def read(text: str) -> dict[str, dict[Labels, float]]:
    """Return what Prometheus' parser reads. Raises AssertionError for a series that is there twice."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge" and family.documentation
        for sample in family.samples:
            labels = tuple(sample.labels.items())
            assert labels not in found.setdefault(family.name, {})
            found[family.name][labels] = sample.value
    return found


def labelled(*values: str) -> Labels:
    return tuple((f"label_{number}", value) for number, value in enumerate(values))


def test_a_metric_has_its_help_its_type_and_its_series_in_order() -> None:
    series: dict[Metric, dict[Labels, Value]] = {SIZE: {labelled("b"): 2, labelled("a"): 1.5}, TIME: {}}
    assert exposition(series) == (
        '# HELP size_bytes How large it is.\n# TYPE size_bytes gauge\nsize_bytes{label_0="a"} 1.5\nsize_bytes{label_0="b"} 2\n'
    )


@given(st.lists(st.tuples(HOSTILE, HOSTILE), unique=True, max_size=6))
def test_the_parser_reads_every_series_and_names_that_differ_remain_different(names: list[tuple[str, str]]) -> None:
    text = exposition({SIZE: {labelled(*pair): number for number, pair in enumerate(names)}})
    expected = {labelled(*map(escaped, pair)): float(number) for number, pair in enumerate(names)}
    assert read(text).get("size_bytes", {}) == expected
    text.encode()


@given(HOSTILE, st.permutations(["a", "b", "c"]))
def test_the_order_of_the_series_does_not_depend_on_how_they_came(name: str, order: list[str]) -> None:
    def text(names: list[str]) -> str:
        return exposition({SIZE: {labelled(one, name): 1 for one in names}})

    assert text(order) == text(["a", "b", "c"])


def test_large_numbers_are_exact() -> None:
    assert 'size_bytes{label_0="a"} 9007199254740993\n' in exposition({SIZE: {labelled("a"): 2**53 + 1}})


def test_of_bookkeeping_the_series_are_compared_without_their_values() -> None:
    def lines(size: int, time: int, name: str = "a") -> list[str]:
        text = exposition({SIZE: {labelled(name): size}, TIME: {labelled(name): time}})
        return without_bookkeeping(text, [SIZE, TIME])

    assert lines(1, 100) == lines(1, 200)
    assert lines(1, 100) != lines(2, 100)
    assert lines(1, 100, "a") != lines(1, 100, "seen_timestamp_seconds{ 1")

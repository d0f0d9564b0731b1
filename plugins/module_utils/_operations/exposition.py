"""Prometheus' text exposition format, as node_exporter reads it from a file. Pure: series in, text out.

The same series give the same bytes. Names that differ remain different: ``escaped`` and the format's own rules can both be
reversed.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._text import escaped

Labels = tuple[tuple[str, str], ...]  # names and values, in the order in which they are written
Value = t.Union[int, float]


@dataclass(frozen=True)
class Metric:
    """A gauge. ``help`` is one line without backslashes.

    ``is_bookkeeping`` says that a new value, such as a time that each run renews, is no change.
    """

    name: str
    help: str
    is_bookkeeping: bool = False


def exposition(series: t.Mapping[Metric, t.Mapping[Labels, Value]]) -> str:
    """Return the text of all metrics that have series, each metric with its series in order."""
    return "".join(_family(metric, values) for metric, values in series.items() if values)


def without_bookkeeping(text: str, metrics: t.Iterable[Metric]) -> list[str]:
    """Return the lines of a text, without the values of bookkeeping."""
    names = {metric.name for metric in metrics if metric.is_bookkeeping}
    return [line.rpartition(" ")[0] if line.partition("{")[0] in names else line for line in text.split("\n")]


def _family(metric: Metric, values: t.Mapping[Labels, Value]) -> str:
    lines = [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} gauge"]
    lines += [f"{metric.name}{{{_labels(labels)}}} {value!r}" for labels, value in sorted(values.items())]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    return ",".join(f'{name}="{_value(value)}"' for name, value in labels)


def _value(text: str) -> str:
    """Return a label's value in the format, with control characters escaped as modules do."""
    return escaped(text).replace("\\", "\\\\").replace('"', '\\"')

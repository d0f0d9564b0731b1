"""The options for the file of metrics."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.metrics import (
    directories_from,
    labels_from,
    metrics_file_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid


@pytest.mark.parametrize("dest", ["lastgood.prom", "/srv/lastgood.txt", "/srv/lastgood.prom/", "/srv/lastgood.prom.d"])
def test_a_file_that_node_exporter_would_not_read_is_refused(dest: str) -> None:
    with pytest.raises(ArgumentInvalid):
        metrics_file_from({"dest": dest})
    assert metrics_file_from({"dest": "/var/lib/lastgood.prom"}) == "/var/lib/lastgood.prom"


@pytest.mark.parametrize("directories", [[], ["/a", "b"], [""]])
def test_directories_are_absolute_and_there_is_one_at_least(directories: list[str]) -> None:
    with pytest.raises(ArgumentInvalid):
        directories_from({"directories": directories})
    assert directories_from({"directories": ["/a", "/b"]}) == ["/a", "/b"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"te am": "x"}, "no label"),
        ({"2nd": "x"}, "no label"),
        ({"__name__": "x"}, "no label"),
        ({"": "x"}, "no label"),
        ({"team\n": "x"}, "no label"),
        ({'a="': "x"}, "no label"),
        ({"é": "x"}, "no label"),
        ({3: "x"}, "no label"),
        ({"database": "x"}, "sets itself"),
        ({"team": None}, "quotes"),
        ({"team": True}, "quotes"),
        ({"team": ["x"]}, "quotes"),
        ({"team": 1.0}, "quotes"),
    ],
)
def test_labels_that_are_none_are_refused(labels: dict[Any, Any], words: str) -> None:
    with pytest.raises(ArgumentInvalid, match=words):
        labels_from({"labels": labels}, {"database"})


def test_labels_are_texts() -> None:
    assert labels_from({"labels": {"team": 'a"\n', "_tier": 1}}, ()) == {"team": 'a"\n', "_tier": "1"}

"""Whether a backup is much smaller than those before it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._metadata.shrinkage import shrinkage_of


@pytest.mark.parametrize(
    ("sizes", "percent"),
    [
        ([], None),
        ([5], None),
        ([100, 50], None),
        ([100, 49], 49),
        ([100, 0], 0),
        ([0, 0], None),
        ([100, 1000], None),
        ([100, 100, 900, 40], 40),  # the median, which one large backup does not move
        ([1000, *[100] * 7, 60], None),  # of the last seven before it
        ([*[1000] * 4, *[100] * 3, 100], 10),
        ([*[1000] * 3, *[100] * 4, 100], None),  # most have the new size by now
        ([100, 300, 60], None),  # of an even number, the smaller one in the middle
    ],
)
def test_a_backup_has_shrunk_if_it_is_below_a_share_of_the_median_before(sizes: list[int], percent: int | None) -> None:
    found = shrinkage_of(sizes, 50)
    assert (None if found is None else found.percent) == percent


def test_no_share_is_no_limit() -> None:
    assert shrinkage_of([100, 0], 0) is None

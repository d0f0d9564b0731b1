"""How a manifest gets its pin and its labels, and which of two copies' count: the later change, of each for itself."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import (
    MOST_LABELS,
    relabelled,
    with_later_marks,
    with_marks_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest, from_bytes
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago, manifest_of

PLAIN = manifest_of()
keys = st.sampled_from(["app", "release", "why"])
labels = st.dictionaries(keys, st.none() | st.sampled_from(["1", "2", ""]), max_size=3)
marked = st.builds(
    lambda *values: PLAIN._replace(**dict(zip(("pinned", "pinned_at", "labels", "labelled_at"), values))),
    st.none() | st.booleans(),
    st.none() | st.sampled_from([NOW, ago(days=1)]),
    st.none() | st.dictionaries(keys, st.sampled_from(["1", "2"]), max_size=3),
    st.none() | st.sampled_from([NOW, ago(days=1)]),
)
pins = st.none() | st.booleans()


class TestChange:
    """A pin is set, removed or left; labels are merged, and null removes one."""

    def test_a_pin_has_the_time_at_which_it_changed(self) -> None:
        pinned = relabelled(PLAIN, True, {}, ago(days=2))
        assert pinned == PLAIN._replace(pinned=True, pinned_at=ago(days=2))
        assert relabelled(pinned, True, {}, NOW) is pinned
        assert relabelled(pinned, None, {}, NOW) is pinned
        assert relabelled(pinned, False, {}, NOW) == PLAIN._replace(pinned=False, pinned_at=NOW)

    def test_to_unpin_what_was_never_pinned_changes_nothing(self) -> None:
        assert relabelled(PLAIN, False, {}, NOW) is PLAIN

    def test_labels_are_merged_and_null_removes_one(self) -> None:
        first = relabelled(PLAIN, None, {"app": "1", "why": "release"}, ago(days=2))
        second = relabelled(first, None, {"app": "2", "why": None, "never": None}, NOW)
        assert (first.labels, first.labelled_at) == ({"app": "1", "why": "release"}, ago(days=2))
        assert (second.labels, second.labelled_at, second.pinned_at) == ({"app": "2"}, NOW, None)

    def test_there_are_only_so_many_labels(self) -> None:
        full = relabelled(PLAIN, None, {str(number): "x" for number in range(MOST_LABELS)}, NOW)
        assert relabelled(full, None, {"more": "x", "0": None}, NOW).labels is not None
        with pytest.raises(ArgumentInvalid, match="33 labels"):
            relabelled(full, None, {"more": "x"}, NOW)

    @pytest.mark.parametrize("before", [NOW, NOW + timedelta(days=9)])
    def test_a_change_is_later_than_the_one_before_whatever_the_clock_says(self, before: datetime) -> None:
        pinned = PLAIN._replace(pinned=True, pinned_at=before)
        assert relabelled(pinned, False, {}, NOW).pinned_at == before + timedelta(seconds=1)

    def test_the_end_of_the_calendar_is_no_error(self) -> None:
        end = datetime.max.replace(microsecond=0, tzinfo=timezone.utc)
        assert relabelled(PLAIN._replace(pinned=True, pinned_at=end), False, {}, NOW).pinned_at == end

    @given(marked, pins, labels)
    def test_a_second_time_changes_nothing(self, manifest: Manifest, pinned: bool | None, labels: dict[str, str | None]) -> None:
        once = relabelled(manifest, pinned, labels, NOW)
        assert relabelled(once, pinned, labels, NOW + timedelta(days=1)) is once

    @given(marked, pins, labels)
    def test_the_rest_of_the_manifest_stays_and_what_is_written_comes_back(
        self, manifest: Manifest, pinned: bool | None, labels: dict[str, str | None]
    ) -> None:
        changed = relabelled(manifest, pinned, labels, NOW)
        assert with_marks_of(changed, manifest) == manifest
        assert from_bytes(changed.to_bytes()) == changed


class TestCopies:
    """Of two copies' pins the later change counts, and of their labels too."""

    def test_a_pin_of_the_other_counts_where_it_is_later(self) -> None:
        pinned = relabelled(PLAIN, True, {}, ago(days=1))
        unpinned = relabelled(pinned, False, {}, NOW)
        assert with_later_marks(PLAIN, pinned) == pinned
        assert with_later_marks(pinned, PLAIN) == pinned
        assert with_later_marks(pinned, unpinned) == unpinned
        assert with_later_marks(unpinned, pinned) == unpinned

    def test_labels_that_changed_later_take_no_pin_away(self) -> None:
        pinned = relabelled(PLAIN, True, {}, ago(days=1))
        labelled = relabelled(PLAIN, None, {"app": "1"}, NOW)
        both = with_later_marks(pinned, labelled)
        assert (both.pinned, both.labels) == (True, {"app": "1"})

    @given(marked, marked)
    def test_a_second_time_changes_nothing(self, manifest: Manifest, other: Manifest) -> None:
        once = with_later_marks(manifest, other)
        assert with_later_marks(once, other) == once

    @given(marked, pins, labels, pins, labels)
    def test_each_change_of_one_reaches_the_other(
        self,
        manifest: Manifest,
        pinned: bool | None,
        labels: dict[str, str | None],
        again: bool | None,
        more: dict[str, str | None],
    ) -> None:
        """Even where all of it happens in one second."""
        first = relabelled(manifest, pinned, labels, NOW)
        second = relabelled(first, again, more, NOW)
        assert with_later_marks(with_later_marks(manifest, first), second) == second

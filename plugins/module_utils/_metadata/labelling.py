"""Pins and labels, which users set on backups: set them in a manifest, and merge those of two copies.

Each copy of a backup has a manifest of its own, and each of them can be changed. Where two differ, the later change counts: the
pin's by ``pinned_at``, and that of all labels together by ``labelled_at``.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest

# Even with the longest keys and values, labels take less than half of LARGEST_MANIFEST.
MOST_LABELS = 32

NewLabels = t.Mapping[str, t.Optional[str]]  # None removes the label of that key


def relabelled(manifest: Manifest, pinned: bool | None, labels: NewLabels, now: datetime) -> Manifest:
    """Return the manifest with a pin set or removed (None leaves it), and with labels set or removed; others stay.

    If nothing changes, it is the same manifest. Raises ArgumentInvalid for too many labels.
    """
    if pinned is not None and pinned != bool(manifest.pinned):
        manifest = manifest._replace(pinned=pinned, pinned_at=_later_than(manifest.pinned_at, now))
    known = dict(manifest.labels or {})
    merged = present_labels({**known, **labels})
    if merged != known:
        manifest = manifest._replace(labels=merged, labelled_at=_later_than(manifest.labelled_at, now))
    return manifest


def present_labels(labels: NewLabels) -> dict[str, str]:
    """Return the labels that have a value. Raises ArgumentInvalid for too many."""
    present = {key: value for key, value in labels.items() if value is not None}
    if len(present) > MOST_LABELS:
        raise ArgumentInvalid(
            f"A backup would have {len(present)} labels.", f"It can have {MOST_LABELS}: remove some, with null as their value."
        )
    return present


def with_later_marks(manifest: Manifest, other: Manifest) -> Manifest:
    """Return the manifest with the pin and the labels of another copy's manifest, where those changed later."""
    if _is_later(other.pinned_at, manifest.pinned_at):
        manifest = manifest._replace(pinned=other.pinned, pinned_at=other.pinned_at)
    if _is_later(other.labelled_at, manifest.labelled_at):
        manifest = manifest._replace(labels=other.labels, labelled_at=other.labelled_at)
    return manifest


def with_marks_of(manifest: Manifest, other: Manifest) -> Manifest:
    """Return the manifest with another one's pin and labels."""
    return manifest._replace(pinned=other.pinned, pinned_at=other.pinned_at, labels=other.labels, labelled_at=other.labelled_at)


def _is_later(time: datetime | None, than: datetime | None) -> bool:
    return time is not None and (than is None or time > than)


def _later_than(previous: datetime | None, now: datetime) -> datetime:
    """Return the time of a change: now, or a second after the previous one, whatever the clock says."""
    now = now.replace(microsecond=0)
    if previous is None or previous < now:
        return now
    try:
        return previous + timedelta(seconds=1)
    except OverflowError:  # at the end of the calendar
        return previous

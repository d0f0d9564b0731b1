"""The option for labels of backups."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import NewLabels
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params

LONGEST_VALUE = 256  # bytes in UTF-8: all labels together take less than half of a manifest's limit

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")


def labels_from(params: Params) -> NewLabels:
    """Return the labels to set and, where the value is None, to remove. Raises ArgumentInvalid."""
    labels = params["labels"] or {}
    for key, value in labels.items():
        _check(key, value)
    return dict(labels)


def _check(key: object, value: object) -> None:
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise ArgumentInvalid(
            f"labels has the key {key!r}.",
            "A key has up to 63 letters, digits, dots, underscores, slashes and hyphens, and begins with a letter or a digit.",
        )
    if value is None:
        return
    if not isinstance(value, str):
        # YAML turns 1.10 into 1.1, and yes into true.
        raise ArgumentInvalid(f"The label {key} is {value!r}, which is no text.", "Write it in quotes.")
    if not value.isprintable() or len(value.encode()) > LONGEST_VALUE:
        raise ArgumentInvalid(
            f"The label {key} is {value[:40]!r}, of {len(value)} characters.",
            f"A value is one line of printable characters, of at most {LONGEST_VALUE} bytes in UTF-8.",
        )

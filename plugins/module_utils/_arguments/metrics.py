"""Options for the file of metrics."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import (
    FILE_SPEC,
    Spec,
    destination_from,
    directory_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, list_from

METRICS_SPEC: Spec = {
    **FILE_SPEC,
    "directories": {"type": "list", "elements": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "labels": {"type": "dict", "default": {}},
    "mode": {"type": "raw", "default": "0644"},
}

_ENDING = ".prom"  # node_exporter reads no other file
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


def directories_from(params: Params) -> list[str]:
    """Return the directories of backups. Raises ArgumentInvalid for an empty list and for a relative path."""
    return [directory_from({"directory": path}) for path in list_from(params, "directories") or ()]


def metrics_file_from(params: Params) -> str:
    """Return the file to write. Raises ArgumentInvalid unless it is an absolute path of a file that node_exporter reads."""
    destination = destination_from(params)
    if not destination.endswith(_ENDING):
        raise ArgumentInvalid(
            f"dest is {destination!r}, and node_exporter reads only files whose names end with {_ENDING}.",
            f"Add {_ENDING} to the name.",
        )
    return destination


def labels_from(params: Params, reserved: t.Container[str]) -> dict[str, str]:
    """Return the labels that every series gets. Raises ArgumentInvalid for an invalid or reserved name."""
    labels: dict[t.Any, t.Any] = params["labels"]
    for name, value in labels.items():
        if not isinstance(name, str) or not _LABEL.fullmatch(name):
            raise ArgumentInvalid(
                f"labels has the name {name!r}, which is no label.",
                "Use letters, digits and underscores; not a digit first, nor two underscores.",
            )
        if name in reserved:
            raise ArgumentInvalid(f"labels has the name {name!r}, which the module sets itself.", "Give it another name.")
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ArgumentInvalid(f"labels has {value!r} for {name}, which is no text.", "Put it in quotes.")
    return {name: str(value) for name, value in labels.items()}

"""Options that many modules share: their argument specs, and their conversion to the values that operations take.

The documentation fragments in plugins/doc_fragments describe the options of this package to users.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, at_least, list_from

Spec = dict[str, t.Any]

DIRECTORY_SPEC: Spec = {"directory": {"type": "path", "required": True}}

FILE_SPEC: Spec = {"owner": {"type": "str"}, "group": {"type": "str"}, "mode": {"type": "raw"}}

# The action plugin reads it; the module ignores it.
PROGRESS_SPEC: Spec = {"progress": {"type": "int", "default": 10}}

SELECTION_SPEC: Spec = {
    "names": {"type": "list", "elements": "str"},
    "databases": {"type": "list", "elements": "str"},
    "newest": {"type": "int"},
}


def directory_from(params: Params) -> str:
    """Return the directory. Rejects relative paths: they would depend on the caller's working directory."""
    directory: str = params["directory"]
    if not os.path.isabs(directory):
        raise ArgumentInvalid(f"directory is {directory!r}, which is not an absolute path.", "Name it from the root on.")
    return directory


def destination_from(params: Params) -> str:
    """Return the file to write. Raises ArgumentInvalid unless it is an absolute path of a file."""
    destination: str = params["dest"]
    if not os.path.isabs(destination) or os.path.basename(destination) in ("", ".", ".."):
        raise ArgumentInvalid(
            f"dest is {destination!r}, which is not the absolute path of a file.", "Name the file from the root on."
        )
    return destination


def selection_from(params: Params) -> Selection:
    """Return the selection of backups."""
    newest = None if params["newest"] is None else at_least(params, "newest", 1)
    return Selection(list_from(params, "names"), list_from(params, "databases"), newest)


def together_or_single(params: Params, option: str, spec: Spec) -> Params:
    """Return the options that a module takes in a dict or one by one. Raises ArgumentInvalid for both ways at once."""
    together: Params | None = params[option]
    if together is None:
        return params
    for name, of_option in spec.items():
        if params[name] != of_option.get("default"):
            raise ArgumentInvalid(f"{option} and {name} don't go together.", f"Set {name} in {option}, or leave {option} out.")
    return together

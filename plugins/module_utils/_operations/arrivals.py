"""Records the digest that each file of a folder had when it was last read, so that the next run need not read it again.

A file that was written to or replaced since then has another fingerprint, and its digest counts as unknown.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

RECORD_NAME = ".lastgood.downloads.json"
_LARGEST_RECORD = 64 * 1024 * 1024
_VERSION = 1


class Arrivals:
    """The record of a folder."""

    def __init__(self, folder: LocalStore) -> None:
        self._folder = folder
        self._digests = _parse(folder.read(RECORD_NAME, _LARGEST_RECORD) if folder.exists() else None)
        self._changed = False

    def holds(self, name: str, sha256: str) -> bool:
        """Return whether the file had this digest when it was last read, and was not written to since then."""
        fingerprint = self._folder.fingerprint(name)
        return fingerprint is not None and self._digests.get(name) == [*fingerprint, sha256]

    def note(self, name: str, sha256: str) -> None:
        """Record that the file was read and has this digest."""
        fingerprint = self._folder.fingerprint(name)
        if fingerprint is not None:
            self._digests[name] = [*fingerprint, sha256]
            self._changed = True

    def save(self) -> None:
        """Write the record, without files that no longer exist. Entries that another run wrote meanwhile are retained."""
        if not self._changed:
            return
        with self._folder.lock():
            others = _parse(self._folder.read(RECORD_NAME, _LARGEST_RECORD))
            merged = {**others, **self._digests}
            present = set(self._folder.names())
            files = {name: values for name, values in sorted(merged.items()) if name in present}
            self._folder.replace(RECORD_NAME, json.dumps({"version": _VERSION, "files": files}).encode("ascii"))
        self._changed = False


def _parse(data: bytes | None) -> dict[str, list[t.Any]]:
    """Return the record's entries, none if it is missing or malformed. The files are then read again."""
    try:
        record = json.loads(data or b"{}")
        if record.get("version") != _VERSION:
            return {}
        return {str(name): list(values) for name, values in record["files"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}

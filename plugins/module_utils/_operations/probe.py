# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""See whether backups can get to an SFTP server, step by step, and say at which step they can't."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    DirectoryMissing,
    FileForbidden,
    ReadBackDiffers,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.partials import check_size, publish
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp import SftpStore

_PROBE_BYTES = 64 * 1024
_MANIFEST = b"{}\n"  # stands for one


@dataclass
class Report:
    """What was found, as far as the steps came."""

    steps: list[dict[str, t.Any]] = field(default_factory=list)
    values: dict[str, t.Any] = field(
        default_factory=lambda: {"server_version": None, "host_key": None, "free_bytes": None, "writable": None}
    )
    changed: bool = False
    failure: BackupError | None = None

    def take(self, name: str, step: t.Callable[[], None]) -> None:
        """Take a step, and note how long it took and whether it was one."""
        began, ok = time.monotonic(), False
        try:
            step()
            ok = True
        finally:
            self.steps.append({"name": name, "ok": ok, "milliseconds": round((time.monotonic() - began) * 1000, 1)})

    def as_result(self) -> dict[str, t.Any]:
        failed = {"failed_step": self.steps[-1]["name"]} if self.failure is not None and self.steps else {}
        return {"changed": self.changed, "steps": self.steps, **self.values, **failed}


def probe(store: SftpStore, *, create_directory: bool, write_probe: bool, check_mode: bool) -> Report:
    """Go through all steps, as far as they lead. In check mode nothing is written."""
    report = Report()
    try:
        _probe(store, report, create_directory, write_probe and not check_mode, check_mode)
    except BackupError as error:
        report.failure = error
    return report


def _probe(store: SftpStore, report: Report, create_directory: bool, write_probe: bool, check_mode: bool) -> None:
    for name, step in store.steps():
        report.take(name, step)
        if name in ("connect", "host_key"):  # a look for the pinned key may have ended at another one of the server's
            report.values["server_version"] = store.connection.server_version
            report.values["host_key"] = store.connection.host_key.line
    report.changed = store.connection.remembered
    there: list[bool] = []

    def find_directory() -> None:
        there.append(store.exists())
        if there[0]:
            return
        if not create_directory:
            raise DirectoryMissing(f"The directory {store.location} does not exist.", "Make it, or set create_directory.")
        report.changed = True
        if not check_mode:
            store.ensure()

    def look_at_directory() -> None:
        find_directory()
        if there[0] or not check_mode:
            report.values["free_bytes"] = store.free_bytes()

    report.take("directory", look_at_directory)
    if not there[0] and check_mode:
        return
    if write_probe:
        _write_and_read(store, report)


def _write_and_read(store: SftpStore, report: Report) -> None:
    """Do with a small file what an upload does with a backup, and a prune after it, by the same methods of the store."""
    # Hidden, and no backup by its name, should we be killed in between.
    name, data = f".lastgood-probe-{os.urandom(8).hex()}", os.urandom(_PROBE_BYTES)
    partial, sidecar, half = f"{name}.partial", f"{name}.json", len(data) // 2

    def write() -> None:
        if store.facts(partial) is not None or store.taken(name):  # what does not exist has to be known as such
            raise StoreFailed(f"{store.path(partial)} can't exist, and the server says that it does.", "Use another server.")
        store.write_from(partial, 0, [memoryview(data)[:half]])
        store.write_from(partial, half, [memoryview(data)[half:]])  # as an upload goes on that was cut off
        check_size(store, partial, len(data))

    def read_back() -> None:
        if b"".join(map(bytes, store.chunks(partial))) != data or store.read(partial, len(data) + 1) != data:
            raise ReadBackDiffers(
                f"What was written to {store.path(partial)} is read back as something else.",
                "Look at the server's disk, and at what stands between.",
            )

    def rename() -> None:
        store.add(sidecar, _MANIFEST)
        publish(store, partial, name, len(data))
        store.replace(sidecar, _MANIFEST * 2)
        if store.read(sidecar, len(_MANIFEST) * 3) != _MANIFEST * 2:
            raise ReadBackDiffers(f"{store.path(sidecar)} was replaced, and has not changed.", "Look at the server's disk.")

    if (problem := _why_not_removed(store, name)) is not None:
        store.warnings.append(f"No file was written to see whether that works, for the account may delete none: {problem}")
        return
    report.values["writable"] = False
    try:
        report.take("write", write)
        report.values["writable"] = True
        report.take("read_back", read_back)
        report.take("rename", rename)
        report.take("remove", lambda: _remove(store, name, sidecar))
    except BackupError:
        for each in (name, sidecar, partial):
            _remove_quietly(store, each)
        raise


def _why_not_removed(store: SftpStore, name: str) -> str | None:
    """Return why an account may delete nothing: it is refused a file that there is not, before anything is left."""
    try:
        store.remove(name)
    except FileForbidden as error:
        return error.problem
    except StoreFailed:
        return None
    return None


def _remove(store: SftpStore, *names: str) -> None:
    for name in names:
        if not store.remove(name):
            raise StoreFailed(
                f"{store.path(name)} was deleted by something else.", "See what moves, collects or deletes files on the server."
            )


def _remove_quietly(store: SftpStore, name: str) -> None:
    try:
        store.remove(name)
    except BackupError:
        return  # what went wrong before is what there is to tell

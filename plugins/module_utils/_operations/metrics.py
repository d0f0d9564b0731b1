"""Write metrics about the backups in directories to a file for node_exporter.

A directory that can't be read is a failure, which a series reports too; the others are still written. New times alone are
written, and are no change.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    Interrupted,
    Locked,
    StoreError,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly, write_all
from ansible_collections.lastgood.database.plugins.module_utils._operations.destination import check_destination
from ansible_collections.lastgood.database.plugins.module_utils._operations.exposition import exposition, without_bookkeeping
from ansible_collections.lastgood.database.plugins.module_utils._operations.inventory import InventoryRequest, inventory
from ansible_collections.lastgood.database.plugins.module_utils._operations.metric_series import METRICS, Facts, series_of
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome, diff_of
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

_LARGEST_FILE = 64 * 1024 * 1024  # bytes; a database takes about 3,000
_PATIENCE = 5.0  # seconds, while another run writes the file
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class MetricsRequest:
    """The directories to describe, the file in ``folder`` to write, and the labels of every series."""

    stores: t.Sequence[LocalStore]
    folder: LocalStore
    filename: str
    labels: t.Mapping[str, str]

    @property
    def destination(self) -> str:
        return self.folder.path(self.filename)


def metrics(request: MetricsRequest, context: Context) -> Outcome:
    """Write the file, unless it has the same content. Check mode writes nothing."""
    check_destination(request.folder, request.filename)
    request.folder.check()
    warnings: list[str] = []
    errors: list[StoreError] = []
    directories: dict[str, Facts | None] = {}
    for store in request.stores:
        try:
            directories[store.location] = _facts(store, context, warnings)
        except StoreError as error:
            directories[store.location] = None
            errors.append(error)
    after = exposition(series_of(directories, request.labels))
    before = _existing(request)
    fits = before is not None and request.folder.has_attributes(request.filename)
    if not context.check_mode and (before != after or not fits):
        if context.is_stopped():
            raise Interrupted(f"The run was ended before {request.destination} was written.", "Run it again.")
        _write(request, after.encode())
    changed = before is None or not fits or without_bookkeeping(before, METRICS) != without_bookkeeping(after, METRICS)
    return Outcome(
        {"changed": changed, "dest": request.destination},
        [*request.folder.warnings, *warnings, *map(str, errors[1:])],
        errors[0] if errors else None,
        diff=lambda: diff_of(request.destination, _lines(before or ""), _lines(after)),
    )


def _facts(store: LocalStore, context: Context, warnings: list[str]) -> Facts:
    """Return the facts about a directory, without its files."""
    outcome = inventory(InventoryRequest(store, page=2, page_size=0), context)
    warnings += outcome.warnings
    facts: Facts = outcome.values["ansible_facts"]["database_backups"]
    return facts


def _existing(request: MetricsRequest) -> str | None:
    data = request.folder.read(request.filename, _LARGEST_FILE)
    return None if data is None else data.decode(errors="replace")


def _write(request: MetricsRequest, data: bytes) -> None:
    """Replace the file whole. node_exporter ignores the partial by its name."""
    folder, partial = request.folder, f".{request.filename}.partial"
    descriptor = _claim(request, partial)
    try:
        with store_errors(f"Writing {request.destination}"):
            write_all(descriptor, data)
        folder.finish(descriptor)
        folder.rename(partial, request.filename)
    except BaseException:
        folder.remove(partial)
        raise
    finally:
        close_quietly(descriptor)


def _claim(request: MetricsRequest, partial: str) -> int:
    deadline = time.monotonic() + _PATIENCE
    while (descriptor := request.folder.claim(partial)) is None:
        if time.monotonic() >= deadline:
            raise Locked(f"Another run is writing {request.destination}.", "Wait for it, and run again.")
        time.sleep(_POLL_SECONDS)
    return descriptor


def _lines(text: str) -> list[str]:
    return text.split("\n")[:-1]

"""Compare the size of new backups with that of the good ones before them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import replace
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreError
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, is_future
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import age_order
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import BackupName, parse
from ansible_collections.lastgood.database.plugins.module_utils._metadata.shrinkage import COMPARED, Shrinkage, shrinkage_of
from ansible_collections.lastgood.database.plugins.module_utils._operations.dump_results import Result
from ansible_collections.lastgood.database.plugins.module_utils._operations.run_facts import size_of

_READ = 3 * COMPARED  # manifests, since some may be of other databases with the same name


def with_shrinkage(
    results: t.Sequence[Result], catalog: Catalog, files: t.Iterable[str], least_percent: int, now: datetime
) -> list[Result]:
    """Return the results, with a warning for each new backup that is much smaller than usual.

    ``files`` are the names in the store before the run.
    """
    labels = {result.backup.name.label for result in results if result.outcome == "created" and result.backup is not None}
    if not labels or least_percent == 0:
        return list(results)
    names: dict[str, list[BackupName]] = {}
    for name in filter(None, map(parse, files)):
        if name.label in labels:
            names.setdefault(name.label, []).append(name)
    return [_with_warning(result, catalog, names, least_percent, now) for result in results]


def _with_warning(
    result: Result, catalog: Catalog, names: t.Mapping[str, list[BackupName]], least_percent: int, now: datetime
) -> Result:
    if result.outcome != "created" or result.backup is None:
        return result
    try:
        earlier = _earlier_sizes(result.backup, catalog, names.get(result.backup.name.label, []), now)
    except StoreError as error:
        warning = f"Whether the new backup of {result.title} is smaller than usual is not known: {error.problem}"
        return replace(result, warnings=(*result.warnings, warning))
    shrinkage = shrinkage_of([*earlier, size_of(result.backup)], least_percent)
    if shrinkage is None:
        return result
    return replace(result, shrunk=shrinkage, warnings=(*result.warnings, _warning(result.title, shrinkage)))


def _earlier_sizes(backup: Backup, catalog: Catalog, names: t.Iterable[BackupName], now: datetime) -> list[int]:
    """Return the sizes of the last good backups of the group, the oldest first."""
    newest_first = sorted(names, key=lambda name: (name.stamp, name.filename), reverse=True)
    found = [
        one
        for one in catalog.find_all([name.filename for name in newest_first[:_READ]])
        if one.group == backup.group and one.state == "good" and not is_future(one.created_at, now)
    ]
    return [size_of(one) for one in sorted(found, key=age_order)]


def _warning(title: str, shrinkage: Shrinkage) -> str:
    return (
        f"The new backup of {title} has {shrinkage.size} bytes of content, {shrinkage.percent} % of the usual "
        f"{shrinkage.usual}: see whether the database lost data, as long as older backups exist."
    )

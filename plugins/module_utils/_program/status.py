"""The verb ``status``: judges as the role's assert_fresh does whether every database of the settings has a fresh backup."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._overview.expected import ASKED, Expected, expected_on
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call, Caller
from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings
from ansible_collections.lastgood.database.plugins.module_utils._program.sources import Source, places_of, sources_of


def status(settings: Settings, caller: Caller, now: t.Callable[[], datetime]) -> list[Expected]:
    """Return every database of the sources with its judgement."""
    sources = sources_of(settings)
    asked = [_asked(source, settings, caller) for source in sources]
    results = [
        {
            **caller(Call("backup_facts", {"directory": place.directory}, place.title, place.user)),
            "_backup_place": place.directory,
        }
        for place in places_of(sources)
    ]
    return expected_on({ASKED: asked, "backup_inventory": {"results": results}}, now())


def _asked(source: Source, settings: Settings, caller: Caller) -> dict[str, t.Any]:
    """Return db_backup's records of a source's databases. In check mode it lists them, dumps none, and writes nothing."""
    call = Call("db_backup", {"directory": source.directory, **source.options}, source.title, source.user)
    return {
        "title": source.title,
        "directory": source.directory,
        "max_age": settings.variables.get("backup_max_age") or {},
        "shrink_warning": source.options["shrink_warning"],
        "asked": caller(call, check_mode=True),
    }

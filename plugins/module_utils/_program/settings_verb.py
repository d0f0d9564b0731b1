"""The verb ``settings``: ``show`` prints the settings without secrets, ``check`` checks whether they can work."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Caller
from ansible_collections.lastgood.database.plugins.module_utils._program.output import Output
from ansible_collections.lastgood.database.plugins.module_utils._program.settings import (
    STANDARD_INPUT,
    Documents,
    Settings,
    changes,
    find,
    lacks_credentials,
    read,
    show,
    with_credentials,
)
from ansible_collections.lastgood.database.plugins.module_utils._program.settings_check import problems_of, trials_of

_NOT_TRIED = (
    "The sources were not tried, since only the service has the credentials that the settings name. "
    "Try them by: systemctl start lastgood.service"
)


def settings_verb(what: str | None, path: str, caller: Caller, documents: Documents, output: Output) -> bool:
    """Show or check the settings in a file. Return whether they are valid."""
    if what not in ("show", "check"):
        raise ArgumentInvalid("settings needs a word: show or check.", "Give one.")
    settings = read(path, documents)
    if what == "show":
        output.lines(show(settings, documents))
        return True
    difference = changes(_saved(path, documents), settings, documents) if caller.diff else []
    problems = problems_of(settings, documents)
    is_untried = lacks_credentials(settings)
    if not problems and not is_untried:
        problems = trials_of(with_credentials(settings), documents, caller)
    notes = [_NOT_TRIED] if is_untried else []
    if output.json:
        output.document({"problems": problems, "notes": notes, "diff": difference})
    else:
        output.lines([*difference, *(problems or ["The settings are valid."]), *notes])
    return not problems


def _saved(path: str, documents: Documents) -> Settings | None:
    """Return the installed settings, which others are to replace, None if no readable ones exist."""
    place = find(None, os.environ)
    if path != STANDARD_INPUT and os.path.realpath(path) == os.path.realpath(place):
        return None
    try:
        return read(place, documents)
    except ArgumentInvalid:  # invalid settings are to be replaced, too
        return None

# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Which of a user's arguments for pg_dump are taken.

None that would change what is written where, or to whom we talk; and none that has a plain dump drop things first, or lead to
another database: db_restore puts it into a new one. An archive knows these only when it is restored.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

_REFUSED_LONG = (
    "--file",
    "--format",
    "--jobs",
    "--compress",
    "--no-sync",
    "--lock-wait-timeout",
    "--dbname",
    "--host",
    "--port",
    "--username",
    "--password",
    "--no-password",
    "--role",
    "--binary-upgrade",  # such a dump goes back only with the server's own help
    "--restrict-key",  # random, or psql's restricted mode protects from nothing
    "--help",
    "--version",
)
_REFUSED_SHORT = "fFjZdhpUWw?V"
_FOR_RESTORE_LONG = ("--clean", "--create", "--if-exists")
_FOR_RESTORE_SHORT = "cC"
_SHORT_WITH_VALUE = "eEnNStT"


def check_extra_arguments(arguments: t.Sequence[str]) -> None:
    """Raise ArgumentInvalid for the first argument that is not to be taken."""
    for argument in arguments:
        reason = _refusal(argument)
        if reason is not None:
            raise ArgumentInvalid(
                f"extra_args has {argument.partition('=')[0]!r}, {reason}.",
                "Give each argument as one word with its value, such as --exclude-table=audit; for the rest there are options.",
            )


def _refusal(argument: str) -> str | None:
    if len(argument) < 2 or not argument.startswith("-") or argument == "--":
        return "which is not an argument that begins with a dash"
    if argument.startswith("--"):
        # pg_dump takes any beginning of a name that fits one option only.
        name = argument.partition("=")[0]
        clash = next((refused for refused in (*_REFUSED_LONG, *_FOR_RESTORE_LONG) if refused.startswith(name)), None)
        if clash in _FOR_RESTORE_LONG:
            return f"which may be {clash}, and db_restore always makes a new database"
        return f"which may change {clash}, the collection's own to set" if clash else None
    for place, letter in enumerate(argument[1:], start=2):
        if letter in _REFUSED_SHORT:
            return f"which sets -{letter}, the collection's own to set"
        if letter in _FOR_RESTORE_SHORT:
            return f"which sets -{letter}, and db_restore always makes a new database"
        if letter in _SHORT_WITH_VALUE:
            return None if argument[place:] else "which lacks its value"
    return None

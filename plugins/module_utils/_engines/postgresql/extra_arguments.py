"""Which of a user's arguments for pg_dump are taken.

None that would change what is written where, or to whom we talk. None that says to leave out all tables or all their rows: what
is left is no backup of a database, and would pass for one. (A pattern, or what a file for --filter says, may still match all
that there is.) None that has a plain dump drop things first, lead to another database
or change the session's user: db_restore puts it into a new one, as one user. An archive knows these only when it is restored.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

_OURS_LONG = (
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
_OURS_SHORT = "fFjZdhpUWw?V"
_NO_BACKUP_LONG = ("--data-only", "--schema-only", "--statistics-only", "--no-data", "--no-schema", "--section")
_NO_BACKUP_SHORT = "as"
_FOR_RESTORE_LONG = ("--clean", "--create", "--if-exists", "--use-set-session-authorization")
_FOR_RESTORE_SHORT = "cC"
_SHORT_WITH_VALUE = "eEnNStT"
_WHOLE_NAMES = ("--schema", "--statistics")  # options of their own, though longer ones begin so

# What changes how a dump is written, and not what of the database is in it.
_WHOLE_LONG = (
    "--attribute-inserts",
    "--blobs",
    "--column-inserts",
    "--disable-dollar-quoting",
    "--disable-triggers",
    "--encoding",
    "--extra-float-digits",
    "--include-foreign-data",
    "--inserts",
    "--large-objects",
    "--load-via-partition-root",
    "--no-statistics",  # ANALYZE makes them anew
    "--no-synchronized-snapshots",
    "--no-table-access-method",
    "--no-tablespaces",
    "--no-toast-compression",
    "--on-conflict-do-nothing",
    "--quote-all-identifiers",
    "--rows-per-insert",
    "--sequence-data",
    "--serializable-deferrable",
    "--snapshot",
    "--statistics",
    "--strict-names",
    "--superuser",
    "--sync-method",
    "--verbose",
    "--with-statistics",
)
_WHOLE_SHORT = "bERSv"

_EXCLUDES_LONG = "--ex"  # as all that leave something out begin
_EXCLUDES_SHORT = "NT"
_MATCHES_ALL = re.compile(r'[*."]*\*[*."]*')

_OURS = "the collection's own to set"
_NO_BACKUP = "and what is left in such a dump is no backup of a database"
_FOR_RESTORE = "and db_restore always makes a new database, as one user"
_REASONS_LONG = (
    *((name, _OURS) for name in _OURS_LONG),
    *((name, _NO_BACKUP) for name in _NO_BACKUP_LONG),
    *((name, _FOR_RESTORE) for name in _FOR_RESTORE_LONG),
)
_REASONS_SHORT = {
    **dict.fromkeys(_OURS_SHORT, _OURS),
    **dict.fromkeys(_NO_BACKUP_SHORT, _NO_BACKUP),
    **dict.fromkeys(_FOR_RESTORE_SHORT, _FOR_RESTORE),
}


def check_extra_arguments(arguments: t.Sequence[str]) -> None:
    """Raise ArgumentInvalid for the first argument that is not to be taken."""
    for argument in arguments:
        reason = _refusal(argument)
        if reason is not None:
            raise ArgumentInvalid(
                f"extra_args has {argument.partition('=')[0]!r}, {reason}.",
                "Give each argument as one word with its value, such as --exclude-table=audit. In place of one that is refused "
                "there is an option, or a run of pg_dump by hand.",
            )


def partial_arguments(arguments: t.Sequence[str]) -> tuple[str, ...]:
    """Return the arguments that leave a part of the database out of its dump, in an order of their own.

    An argument that is not known to leave nothing out counts as one that does.
    """
    return tuple(sorted({argument for argument in arguments if not _leaves_nothing_out(argument)}))


def _leaves_nothing_out(argument: str) -> bool:
    if argument.startswith("--"):
        name = argument.partition("=")[0]
        return any(whole.startswith(name) for whole in _WHOLE_LONG)  # pg_dump refuses what may be two options
    for letter in argument[1:]:
        if letter not in _WHOLE_SHORT:
            return False
        if letter in _SHORT_WITH_VALUE:
            return True
    return True


def _refusal(argument: str) -> str | None:
    if len(argument) < 2 or not argument.startswith("-") or argument == "--":
        return "which is not an argument that begins with a dash"
    if argument.startswith("--"):
        name, _equals, value = argument.partition("=")
        if name in _WHOLE_NAMES:
            return None
        if name.startswith(_EXCLUDES_LONG) and _MATCHES_ALL.fullmatch(value):
            return f"which leaves out all that there is, {_NO_BACKUP}"
        # pg_dump takes any beginning of a name that fits one option only.
        return next((f"which may be {refused}, {why}" for refused, why in _REASONS_LONG if refused.startswith(name)), None)
    for place, letter in enumerate(argument[1:], start=2):
        if letter in _REASONS_SHORT:
            return f"which sets -{letter}, {_REASONS_SHORT[letter]}"
        if letter in _EXCLUDES_SHORT and _MATCHES_ALL.fullmatch(argument[place:]):
            return f"which leaves out all that there is, {_NO_BACKUP}"
        if letter in _SHORT_WITH_VALUE:
            return None if argument[place:] else "which lacks its value"
    return None

"""The verbs of the program. Most of them run a module with its options; the program itself does the others."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verb:
    """A verb: its module, None if the program does it itself, and the defaults that differ from the module's.

    Without a place on the command line, it runs for each place or source of the settings: ``per`` is ``place`` or ``source``.
    """

    name: str
    summary: str
    module: str | None = None
    defaults: t.Mapping[str, t.Any] = field(default_factory=dict)
    per: str = ""
    from_server: bool = False  # whether it can read from the SFTP server of the settings


_NEWEST = {"level": "restore", "newest": 1}
_OF_ALL = (
    Verb("run", "Back up every source of the settings, send, prune, and write metrics"),
    Verb("status", "Judge whether every database of the settings has a fresh backup"),
    Verb("list", "List backups", "backup_facts", {"sort_by": "created_at", "descending": True}, per="place", from_server=True),
    Verb(
        "facts",
        "Show the last good backup of each database, and how its last run went",
        "backup_facts",
        per="place",
        from_server=True,
    ),
    Verb("backup", "Back up databases", "db_backup", per="source"),
    Verb("verify", "Read backups again, and record whether each is good", "backup_verify", per="place", from_server=True),
    Verb("drill", "Restore the newest backups to a throw-away server", "backup_verify", _NEWEST, "place", from_server=True),
    Verb("restore", "Restore a database from a backup", "db_restore", from_server=True),
    Verb("archive", "Put backups into one file to take away", "backup_archive"),
    Verb("prune", "Delete the backups that no rule retains", "backup_prune", per="place"),
    Verb("upload", "Send good backups to an SFTP server", "backup_upload", per="place"),
    Verb("check", "Check whether the next backup can succeed", "backup_check", per="source"),
    Verb("label", "Pin and label backups", "backup_label"),
    Verb("metrics", "Write the state of backups into a file for Prometheus", "backup_metrics"),
    Verb("sftp-check", "Check whether an SFTP server accepts backups", "sftp_check"),
    Verb("settings", "Show or check the settings"),
    Verb("help", "Explain a verb"),
    Verb("completion", "Print the completion for bash, zsh or fish"),
)
VERBS = {verb.name: verb for verb in _OF_ALL}


def face(module: str) -> t.Callable[[], t.NoReturn]:
    """Return the ``main`` of a module. Imports nothing else: Python compiles all that the program imports at each start."""
    if module == "backup_archive":
        from ansible_collections.lastgood.database.plugins.modules.backup_archive import main
    elif module == "backup_check":
        from ansible_collections.lastgood.database.plugins.modules.backup_check import main
    elif module == "backup_facts":
        from ansible_collections.lastgood.database.plugins.modules.backup_facts import main
    elif module == "backup_label":
        from ansible_collections.lastgood.database.plugins.modules.backup_label import main
    elif module == "backup_metrics":
        from ansible_collections.lastgood.database.plugins.modules.backup_metrics import main
    elif module == "backup_prune":
        from ansible_collections.lastgood.database.plugins.modules.backup_prune import main
    elif module == "backup_upload":
        from ansible_collections.lastgood.database.plugins.modules.backup_upload import main
    elif module == "backup_verify":
        from ansible_collections.lastgood.database.plugins.modules.backup_verify import main
    elif module == "db_backup":
        from ansible_collections.lastgood.database.plugins.modules.db_backup import main
    elif module == "db_restore":
        from ansible_collections.lastgood.database.plugins.modules.db_restore import main
    elif module == "sftp_check":
        from ansible_collections.lastgood.database.plugins.modules.sftp_check import main
    else:
        raise ValueError(module)
    return main

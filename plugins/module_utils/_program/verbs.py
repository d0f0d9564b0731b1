"""The verbs of the program: each is a module with its options, or a work of the program's own."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

NO_DEFAULTS: t.Mapping[str, t.Any] = {}


@dataclass(frozen=True)
class Verb:
    """A verb: its module, None if the program does it itself, and the defaults that differ from the module's."""

    name: str
    help: str
    module: str | None = None
    defaults: t.Mapping[str, t.Any] = field(default_factory=dict)
    per: str = ""  # what a call without a place is repeated for: each "place" or each "source" of the settings; "" for neither


VERBS = {
    verb.name: verb
    for verb in (
        Verb("run", "Do what the settings say: back up every source, send, prune, write metrics"),
        Verb("status", "Say whether every database of the settings has a fresh backup"),
        Verb("list", "List backups", "backup_facts", per="place"),
        Verb("facts", "Say everything that is known about backups", "backup_facts", per="place"),
        Verb("backup", "Back up databases", "db_backup", per="source"),
        Verb("verify", "Read backups again, and record whether each is good", "backup_verify", per="place"),
        Verb(
            "drill",
            "Restore the newest backups to a throw-away server",
            "backup_verify",
            {"level": "restore", "newest": 1},
            "place",
        ),
        Verb("restore", "Restore a database from a backup", "db_restore"),
        Verb("archive", "Put backups into one file to take away", "backup_archive"),
        Verb("prune", "Delete the backups that no rule keeps", "backup_prune", per="place"),
        Verb("upload", "Send good backups to an SFTP server", "backup_upload", per="place"),
        Verb("check", "Check whether the next backup can succeed", "backup_check", per="source"),
        Verb("label", "Pin and label backups", "backup_label"),
        Verb("metrics", "Write the state of backups into a file for Prometheus", "backup_metrics"),
        Verb("sftp-check", "Check whether an SFTP server accepts backups", "sftp_check"),
        Verb("settings", "Show the settings, or check them"),
        Verb("help", "Explain a verb"),
        Verb("completion", "Print the completion for a shell"),
    )
}


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

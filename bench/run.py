"""How fast it is, each row beside the least that the work could take, in turn and in processes of their own.

Run by ``make bench``, or for single rows by ``tools/env python -m bench.run ROW ...``. Besides what the tests need, it wants the
programs that it compares with.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import sys
import typing as t

from ansible_collections.lastgood.database.tests.support.sftp import sshd
from bench.archiving import archiving
from bench.downloading import downloading
from bench.dumping import dumping
from bench.encrypting import encrypting
from bench.listing import listing
from bench.many import many
from bench.mysql import mysql
from bench.program import program
from bench.pruning import pruning
from bench.reporting import reporting
from bench.restoring import restoring
from bench.status import status
from bench.uploading import uploading
from bench.verifying import verifying

ROWS: dict[str, t.Callable[[], None]] = {
    "listing": listing,
    "program": program,
    "pruning": pruning,
    "dumping": dumping,
    "encrypting": encrypting,
    "many": many,
    "status": status,
    "archiving": archiving,
    "restoring": restoring,
    "verifying": verifying,
    "mysql": mysql,
    "uploading": uploading,
    "downloading": downloading,
    "reporting": reporting,
}

PEERS = ("age", "gpg", "gzip", "pigz", "scp", "sftp")


def main() -> None:
    missing = [name for name in PEERS if shutil.which(name) is None] + ([] if sshd() else ["sshd"])
    if missing:
        sys.exit(
            f"bench: programs are missing: {', '.join(missing)} (apt install age gnupg gzip pigz openssh-client openssh-server)"
        )
    for name in sys.argv[1:] or ROWS:
        ROWS[name]()


if __name__ == "__main__":
    main()

"""Lets a user without privileges become another one in a play, by a second login: no program has more rights than its user."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import getpass
import os
import shutil
from pathlib import Path

from ansible_collections.lastgood.database.tests.support.sftp import SftpServer

OTHER = 1  # daemon, who is on every host

_BECOME = """\
#!/usr/bin/env python3
import os, shlex, sys
words = sys.argv[sys.argv.index("-u") + 2 :]
login = ["ssh", "-q", "-F", "/dev/null", "-p", "{port}", "-i", "{key}", "-o", "UserKnownHostsFile={known_hosts}"]
os.execvp("ssh", [*login, "-o", "StrictHostKeyChecking=yes", "{user}@127.0.0.1", shlex.join(words)])
"""


def as_user(uid: int) -> str:
    """Return what makes a server execute every command as a user, whoever logs in."""
    return f'ForceCommand setpriv --reuid={uid} --regid={uid} --clear-groups sh -c "$SSH_ORIGINAL_COMMAND"'


def become_exe(folder: Path, server: SftpServer, *, owner: int) -> Path:
    """Make a program for ansible_become_exe that executes a command on a server, which has ``as_user``, for ``owner``."""
    key, known_hosts, program = folder / "key", folder / "known_hosts", folder / "become"
    shutil.copy(server.folder / "user_ed25519", key)
    os.chown(key, owner, owner)
    shutil.copy(server.known_hosts, known_hosts)
    program.write_text(_BECOME.format(key=key, known_hosts=known_hosts, user=getpass.getuser(), port=server.port))
    program.chmod(0o755)
    return program

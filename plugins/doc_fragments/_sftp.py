# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  sftp:
    description: The directory on an SFTP server, instead of one on the host, and how the host gets there.
    type: dict
    suboptions:
      host:
        description: Name or address of the server.
        type: str
        required: true
      port:
        description: Port of the server.
        type: int
        default: 22
      user:
        description: Name of the account on the server.
        type: str
        required: true
      auth_method:
        description:
          - How to log in. V(auto) tries the key and then the password, as far as they are given and the server offers it.
          - Without a key and a password, it is the keys of the user's agent and of C(~/.ssh). Those that can't be used are
            skipped.
        type: str
        choices: [auto, password, ssh_key]
        default: auto
      password:
        description: Password of the account, also for servers that ask for it by keyboard-interactive.
        type: str
      private_key:
        description: The private key as text, an ed25519, ECDSA or RSA key in OpenSSH's format or as PEM.
        type: str
      private_key_file:
        description: File on the host with the private key. Not looked at where O(sftp.private_key) is given.
        type: path
      key_passphrase:
        description: Passphrase of the private key.
        type: str
      remote_directory:
        description:
          - Directory on the server, from its root on, or from where the account is after the login, which V(~) stands for as
            well.
        type: str
        required: true
      create_directory:
        description:
          - Whether to make the directory, with mode V(0700), and those above it, where they are missing, for modules that write.
        type: bool
        default: false
      host_key_policy:
        description:
          - How to know that the server is the right one. A key other than the known one is always refused, save by V(off).
          - V(strict) takes only a key that is in O(sftp.known_hosts_file).
          - V(accept_new) takes the key of a server that is not known yet, and adds it to the file, save in check mode.
          - V(pinned) compares with O(sftp.host_key) only, and reads no file.
          - V(off) takes any key, and warns. Whoever is between can then read and change what is sent.
        type: str
        choices: [strict, accept_new, pinned, "off"]
        default: strict
      host_key:
        description: The server's public key for V(pinned), as V(ssh-ed25519 AAAA...) or as V(SHA256:...).
        type: str
      known_hosts_file:
        description:
          - File with the host keys that are known, as OpenSSH has it.
          - Left out, it is C(~/.ssh/known_hosts) of the user as whom the module runs and C(/etc/ssh/ssh_known_hosts).
        type: path
      timeout:
        description:
          - How long the server may take to connect, to let one log in, to open a session, and to answer in it, whatever it sends
            meanwhile. Many answers that each take long count together; each renews a quarter of the time. A listing may take
            ten times as long.
        type: str
        default: 30s
requirements:
  - paramiko, for SFTP
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  sftp:
    description: The directory on an SFTP server, instead of one on the host, and how the host connects to the server.
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
          - How to log in. V(auto) tries the key and then the password, if they are set and the server offers the method.
          - Without a key and a password, it tries the keys of the user's agent and of C(~/.ssh), and skips those that can't be
            used.
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
        description: File on the host with the private key. Ignored if O(sftp.private_key) is set.
        type: path
      key_passphrase:
        description: Passphrase of the private key.
        type: str
      remote_directory:
        description:
          - Directory on the server. A relative path starts from the directory after the login, as does V(~).
        type: str
        required: true
      create_directory:
        description:
          - For modules that write, whether to create the directory, with mode V(0700), and its parents, if they do not exist.
        type: bool
        default: false
      host_key_policy:
        description:
          - How to verify the server's host key. A key other than the known one is always refused, except with V(off).
          - V(strict) accepts only a key that is in O(sftp.known_hosts_file).
          - V(accept_new) accepts the key of an unknown server, and adds it to the file, except in check mode.
          - V(pinned) compares with O(sftp.host_key) only, and reads no file.
          - V(off) accepts any key, and warns. An attacker in between can then read and change what is sent.
        type: str
        choices: [strict, accept_new, pinned, "off"]
        default: strict
      host_key:
        description: The server's public key for V(pinned), as V(ssh-ed25519 AAAA...) or as V(SHA256:...).
        type: str
      known_hosts_file:
        description:
          - File with the known host keys, in the format of OpenSSH.
          - By default C(~/.ssh/known_hosts) of the user that runs the module, and C(/etc/ssh/ssh_known_hosts).
        type: path
      timeout:
        description:
          - Time limit for each of these steps, whatever the server sends meanwhile - the connection, the login, the opening of
            a session, and each answer in it. The waits for several answers are added up, and each answer restores a quarter of
            the limit. A listing may take ten times as long.
        type: str
        default: 30s
requirements:
  - paramiko, for SFTP
"""

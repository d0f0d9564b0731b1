# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  identity:
    description:
      - The private key that opens encrypted backups, as text. For age it is what C(age-keygen) wrote, which may be several keys,
        or a private key of SSH. For GnuPG it is what C(gpg --export-secret-keys --armor) prints.
      - It is passed to programs by a descriptor, and appears in no command line, environment, result or log. age and pyrage need
        no file of it. C(gpg) can use a key only from its own folder. That folder is made in C(/dev/shm), which is memory, or
        without that in E(TMPDIR). It is removed as soon as the backup is open, before the content is read.
      - Lookups such as P(ansible.builtin.file#lookup) of a file that Ansible Vault encrypts bring it from the controller.
    type: str
  identity_file:
    description:
      - Path of the file with the private key on the host where the module runs. It may be binary for GnuPG.
      - A file that others than its owner and group can read is refused.
      - Only one of it and O(identity) may be set.
    type: path
  identity_passphrase:
    description:
      - The passphrase of a key of GnuPG, or of a file that C(age -p) protected. The latter needs the Python library pyrage.
      - A private key of SSH must have no passphrase.
    type: str
"""

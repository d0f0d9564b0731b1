# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  encryption:
    description:
      - Whether and how new backups are encrypted. Only public keys are needed, so that nobody who takes the host can read the
        backups on it. Each recipient alone can decrypt them.
      - V(age) is made by the Python library pyrage where the host has it, else by the program C(age). V(gpg) is OpenPGP, made by
        the program C(gpg) without the user's options and trust. It is an error if the host has none of these.
    type: str
    choices: [none, age, gpg]
    default: none
  recipients:
    description:
      - The public keys that new backups are encrypted for. With V(age) for O(encryption) each is a public key of age,
        V(age1...), or of SSH, of the types ssh-ed25519 and ssh-rsa. With V(gpg) each is the full fingerprint of a key, of 40
        hexadecimal digits.
      - A private key is refused. So is a key that is malformed, unknown, expired or revoked.
    type: list
    elements: str
  recipients_file:
    description:
      - Path of a file with public keys on the host. With V(age) for O(encryption) it has a key in each line, and they are added
        to O(recipients). With V(gpg) it is what C(gpg --export) printed, and O(recipients) select keys of it. If they are not
        set, all of its keys are recipients.
      - A file is refused that belongs to another user than root and the one that runs the module, or that its group or others can
        write to. They could replace the keys, so that new backups open for them alone. The same holds for each folder and link
        that the path leads through, except that a sticky folder may let others write to it.
      - Without it, V(gpg) looks for the fingerprints in the keyring of the user that runs the module.
    type: path
"""

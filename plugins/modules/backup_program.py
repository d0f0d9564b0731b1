#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_program
short_description: Install the program lastgood, which backs up and restores without a controller
version_added: 0.1.0
description:
  - Builds the program C(lastgood) on the controller, and copies it to the host. It is one file, made of the modules of this
    collection and of the parts of ansible-core that they import.
  - The program needs Python 3.9 or newer, and what the modules need for a kind of database or of server.
  - The same collection and the same ansible-core make the same file, so that a second run changes nothing.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows that the file differs, not how.
  idempotent:
    support: full
options:
  dest:
    description:
      - File to write on the host. Its folder has to exist.
      - Every user whose databases the program backs up has to be able to read it.
    type: path
    default: /usr/local/bin/lastgood
  owner:
    description: User who owns the file.
    type: str
  group:
    description: Group that owns the file.
    type: str
  mode:
    description: Mode of the file.
    type: raw
    default: '0755'
seealso:
  - module: lastgood.database.db_backup
  - module: lastgood.database.db_restore
"""

EXAMPLES = r"""
- name: Install the program
  lastgood.database.backup_program:
    dest: /usr/local/bin/lastgood
    owner: root
"""

RETURN = r"""
dest:
  description: The file on the host.
  returned: success
  type: str
  sample: /usr/local/bin/lastgood
error:
  description: What went wrong, for programs.
  returned: failure
  type: dict
  contains:
    code:
      description: A name for what went wrong that stays the same.
      type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule


def main() -> t.NoReturn:
    """Fail: the action plugin of the same name does the work, so this module never has to run on a host."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "default": "/usr/local/bin/lastgood"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "mode": {"type": "raw", "default": "0755"},
        },
        supports_check_mode=True,
    )
    module.fail_json(
        "backup_program builds the program on the controller, and was run on a host. Use it as a task of a playbook.",
        error={"code": "not_on_a_host"},
    )


if __name__ == "__main__":
    main()

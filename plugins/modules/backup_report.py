#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_report
short_description: Write one HTML page about the backups of all hosts
version_added: 0.1.0
description:
  - Writes a page with a tile for each host of the play, the last good backup of each database, and a list of all backups.
  - The role P(lastgood.database.backup#role) runs it once at the end of its entry point C(report). The variable
    C(backup_inventory) of each host then holds the registered results of M(lastgood.database.backup_facts). A host without that
    variable was not reached, and is shown as unknown.
  - It runs on the controller and connects to no host.
  - The page is one file that loads nothing from anywhere else. Without JavaScript it shows plain tables.
  - A host is C(failing) if the last run failed for one of its databases, or if a database has no good backup. It is C(late) if
    an age in the role's O(lastgood.database.backup#role:report:backup_max_age) is exceeded, and C(unknown) if its backups could
    not be listed. Otherwise it is C(safe).
  - The strategy has to be C(linear), since the others do not wait for all hosts.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
attributes:
  action:
    description: Runs on the controller.
    support: full
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows a line for each host, database and backup that is new, has changed, or is no longer on the page.
  idempotent:
    support: full
    details:
      - Each run writes the page, which says when it was made and how old each backup was then. That alone is no change.
options:
  dest:
    description:
      - Path of the file on the controller. A relative path starts from the directory in which Ansible was started.
      - The folder has to exist. The file is replaced in one step. A symbolic link is replaced, not followed.
    type: path
    required: true
  mode:
    description:
      - Mode of the file, as octal digits in quotes, such as V('0640'), or in symbols. By default V('0600').
      - The page shows names of hosts and databases, and messages of errors.
    type: raw
seealso:
  - module: lastgood.database.backup_facts
  - module: lastgood.database.backup_summary
"""

EXAMPLES = r"""
---
- name: Write the report
  lastgood.database.backup_report:
    dest: /srv/reports/backups.html
  run_once: true
"""

RETURN = r"""
dest:
  description: Path of the file.
  returned: success
  type: str
  sample: /srv/reports/backups.html
hosts:
  description: How many hosts are in each state.
  returned: success
  type: dict
  sample: {failing: 1, late: 0, unknown: 2, safe: 47}
msg:
  description: The same in words.
  returned: success
  type: str
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
        argument_spec={"dest": {"type": "path", "required": True}, "mode": {"type": "raw"}},
        supports_check_mode=True,
    )
    module.fail_json(
        "backup_report runs on the controller, and was run on a host. Use it as a task of a playbook.",
        error={"code": "not_on_a_host"},
    )


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_summary
short_description: Show one table of what a run of the role did on all hosts
version_added: 0.1.0
description:
  - Shows the results that the role P(lastgood.database.backup#role) stored in the variables of the hosts. The role runs it once
    at the end, with C(run_once).
  - It runs on the controller and connects to no host.
  - The table lists the hosts of the play that have a result, and those that failed or were unreachable. With C(serial) it lists
    the hosts so far.
  - With the strategies C(free) and C(host_pinned) the hosts do not finish together. Each host then shows its own lines. Ansible
    warns that it ignores C(run_once), which is harmless.
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
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - This action does not modify state.
options:
  table:
    description:
      - V(backup) has a line for each database of C(backup_runs), with the outcome, the size and the age of its last good backup,
        and whether that backup is on the SFTP server. Databases that failed are included.
      - V(verify) has a line for each backup of C(backup_verified), with the verdict.
      - V(check) has three lines for each problem of C(backup_checked) - its severity and code, what is wrong, and what to do.
      - V(restore) has a line for each database of C(backup_restored), with the outcome, the time it took and the backup.
      - V(fresh) has a line for each database that has no fresh backup, as the role's entry point C(assert_fresh) found. Run it
        for each host, without C(run_once). The first host shows the table, and each gets what is not fresh on it.
    type: str
    choices: [backup, verify, check, fresh, restore]
    required: true
seealso:
  - module: lastgood.database.backup_facts
"""

EXAMPLES = r"""
---
- name: Show what was backed up
  lastgood.database.backup_summary:
    table: backup
  run_once: true
"""

RETURN = r"""
msg:
  description: The lines of the table.
  returned: success, for O(table=fresh) in the result of the first host
  type: list
  elements: str
counts:
  description:
    - How many databases are in each state. The result of the first host counts all hosts, that of every other host only itself.
      A host or a source that could not be asked counts as one.
  returned: for O(table=fresh)
  type: dict
  sample: {failing: 1, late: 0, unknown: 0, safe: 47}
not_fresh:
  description: The databases of this host that have no fresh backup, with their states.
  returned: for O(table=fresh)
  type: list
  elements: str
  sample: [shop (failing)]
whole_play:
  description: Whether the table is about all hosts of the play so far. With the strategies C(free) and C(host_pinned) it is not.
  returned: for O(table=fresh)
  type: bool
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
        argument_spec={"table": {"type": "str", "choices": ["backup", "verify", "check", "fresh", "restore"], "required": True}},
        supports_check_mode=True,
    )
    module.fail_json(
        "backup_summary runs on the controller, and was run on a host. Use it as a task of a playbook.",
        error={"code": "not_on_a_host"},
    )


if __name__ == "__main__":
    main()

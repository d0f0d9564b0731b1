# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  progress:
    description:
      - How many seconds pass between two lines that show how far the run on a host is. V(0) shows none.
      - The run continues in the background of its host while the controller waits for it. A lost connection does not end it, and
        the controller connects again for up to ten minutes. An interrupted play ends it.
      - No line is shown in check mode, for a task with C(async) or C(no_log), and with a callback for programs, such as
        C(ansible.posix.json). The run then does not continue in the background.
      - A host needs the program C(flock) and free space in C(/tmp). Without them the module runs as if this were V(0), and warns.
      - The action plugin reads this option, so it has no effect if the module is run without Ansible.
    type: int
    default: 10
attributes:
  action:
    description: Has an action plugin, which runs on the controller, and runs the module on the host.
    support: full
  async:
    description: Supports being run with the C(async) keyword.
    support: full
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that the system controlled or queried by the module has not changed in a relevant way.
  platform:
    description: Target systems that the module runs on.
    support: full
    platforms: linux
"""

    # In addition to the standard fragment, for a module that only reads.
    FACTS = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  facts:
    description: Action returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
  idempotent:
    support: full
    details:
      - This action does not modify state.
"""

    ACTIONGROUP_BACKUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/lastgood.database.backup) in C(module_defaults) to set defaults, such as O(directory).
    support: full
    membership:
      - lastgood.database.backup
"""

    ACTIONGROUP_BACKUP_LOGIN = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/lastgood.database.backup) in C(module_defaults) to set defaults, such as O(directory).
      - Use C(group/lastgood.database.login) for defaults such as O(login_host).
    support: full
    membership:
      - lastgood.database.backup
      - lastgood.database.login
"""

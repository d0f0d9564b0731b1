# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Both have the same rules: ansible-test reads nothing but literals here.
    DOCUMENTATION = r"""
options:
  retention:
    description: The rules that say which backups to keep.
    type: dict
    suboptions:
      keep_last:
        description: How many backups to keep, from the newest back. V(-1) keeps all, here and below.
        type: int
        default: 0
      keep_hourly:
        description: For how many hours to keep the newest backup of each.
        type: int
        default: 0
      keep_daily:
        description: For how many days to keep the newest backup of each.
        type: int
        default: 0
      keep_weekly:
        description: For how many weeks to keep the newest backup of each. Weeks begin on Monday.
        type: int
        default: 0
      keep_monthly:
        description: For how many months to keep the newest backup of each.
        type: int
        default: 0
      keep_yearly:
        description: For how many years to keep the newest backup of each.
        type: int
        default: 0
      keep_within:
        description:
          - Keep all backups within this time before the newest good one (not before now), such as V(7d).
          - A number and V(s), V(m), V(h), V(d) or V(w).
        type: str
      timezone:
        description:
          - Time zone in which hours, days, weeks, months and years begin, such as V(Europe/Berlin).
          - The host must have its data, from the system's package tzdata or from Python's. V(UTC) always works.
        type: str
        default: UTC
"""

    # Beside the standard fragment, for a module that takes the rules one by one as well.
    RULES = r"""
options:
  keep_last:
    description: How many backups to keep, from the newest back. V(-1) keeps all, here and below.
    type: int
    default: 0
  keep_hourly:
    description: For how many hours to keep the newest backup of each.
    type: int
    default: 0
  keep_daily:
    description: For how many days to keep the newest backup of each.
    type: int
    default: 0
  keep_weekly:
    description: For how many weeks to keep the newest backup of each. Weeks begin on Monday.
    type: int
    default: 0
  keep_monthly:
    description: For how many months to keep the newest backup of each.
    type: int
    default: 0
  keep_yearly:
    description: For how many years to keep the newest backup of each.
    type: int
    default: 0
  keep_within:
    description:
      - Keep all backups within this time before the newest good one (not before now), such as V(7d).
      - A number and V(s), V(m), V(h), V(d) or V(w).
    type: str
  timezone:
    description:
      - Time zone in which hours, days, weeks, months and years begin, such as V(Europe/Berlin).
      - The host must have its data, from the system's package tzdata or from Python's. V(UTC) always works.
    type: str
    default: UTC
"""

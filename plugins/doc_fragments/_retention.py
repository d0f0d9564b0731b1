# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time.

from __future__ import annotations

import textwrap

_RULES = """
keep_last:
  description: How many backups to keep, from the newest back. V(-1) keeps all, here and below.
  type: int
  default: 0
keep_hourly:
  description: Of how many hours to keep the newest backup.
  type: int
  default: 0
keep_daily:
  description: Of how many days to keep the newest backup.
  type: int
  default: 0
keep_weekly:
  description: Of how many weeks to keep the newest backup. They begin on Monday.
  type: int
  default: 0
keep_monthly:
  description: Of how many months to keep the newest backup.
  type: int
  default: 0
keep_yearly:
  description: Of how many years to keep the newest backup.
  type: int
  default: 0
keep_within:
  description:
    - Keep all backups that are younger than this, counted back from the newest good one and not from now, such as V(7d).
    - A number and V(s), V(m), V(h), V(d) or V(w).
  type: str
timezone:
  description:
    - Time zone in which hours, days, weeks, months and years begin, such as V(Europe/Berlin).
    - The host has to know it, by the system's package tzdata or by Python's. It always knows V(UTC).
  type: str
  default: UTC
"""


class ModuleDocFragment:
    DOCUMENTATION = f"""
options:
  retention:
    description: The rules that say which backups to keep.
    type: dict
    suboptions:{textwrap.indent(_RULES, " " * 6)}
"""

    # Beside the standard fragment, for a module that takes the rules one by one as well.
    RULES = f"""
options:{textwrap.indent(_RULES, " " * 2)}
"""

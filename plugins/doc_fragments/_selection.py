# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  names:
    description:
      - File names of the backups to select, without a directory.
      - Without it every backup is selected. An empty list is an error.
    type: list
    elements: str
  databases:
    description:
      - Databases whose backups to select, by their exact names. The name of an SQLite database is its file name.
      - V(@globals) selects the roles and tablespaces of a PostgreSQL cluster.
      - Without it every database is selected. An empty list is an error.
    type: list
    elements: str
  newest:
    description:
      - How many backups of each database to select, from the newest back.
      - Databases of the same name on different hosts, clusters or in different files count separately. A backup whose time is
        more than an hour in the future is never among the newest.
      - Without it every backup is selected.
    type: int
"""

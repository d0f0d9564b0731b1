# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  names:
    description:
      - File names of the backups that are meant, without a directory.
      - Left out, it is every backup. An empty list is an error.
    type: list
    elements: str
  databases:
    description:
      - Databases whose backups are meant, by their exact names. An SQLite database is named by its file without the directory.
      - V(@globals) is the roles and tablespaces of a PostgreSQL cluster, by the name that stands for them in file names.
      - Left out, it is every database. An empty list is an error.
    type: list
    elements: str
  newest:
    description:
      - How many backups of each database are meant, from the newest back.
      - Databases of one name count apart where they are of different servers, clusters or files. A backup that claims a time
        more than an hour in the future is not among the newest.
      - Left out, it is every backup.
    type: int
"""

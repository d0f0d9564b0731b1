# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  owner:
    description:
      - Name or numeric id of the user who owns the files that are written, and the directory if it is created.
      - By default the user that runs the module.
    type: str
  group:
    description:
      - Name or numeric id of the group that owns the files that are written, and the directory if it is created.
      - By default the group of the user that runs the module.
    type: str
  mode:
    description:
      - Mode of the files that are written, as an octal number in quotes such as V('0640'), or as changes such as V(g+r) to
        the default.
      - By default V('0600'). A directory that is created always has the mode V(0700).
      - The mode of existing files is not changed.
    type: raw
"""

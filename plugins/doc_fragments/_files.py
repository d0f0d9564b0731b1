# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  owner:
    description:
      - Name or numeric id of the user who is to own the files that are written, and the directory where it is made.
      - Left out, it is the user as whom the module runs.
    type: str
  group:
    description:
      - Name or numeric id of the group that is to own the files that are written, and the directory where it is made.
      - Left out, it is the group of the user as whom the module runs.
    type: str
  mode:
    description:
      - Mode of the files that are written, as an octal number in quotes such as V('0640'), or as changes such as V(g+r) to
        the default.
      - Left out, it is V('0600'). A directory that has to be made is V(0700) whatever this says.
      - Existing files stay as they are.
    type: raw
"""

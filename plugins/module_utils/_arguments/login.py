# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Options for the address of the server and the login."""

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Spec

LOGIN_SPEC: Spec = {
    "login_host": {"type": "str"},
    "login_port": {"type": "int"},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "login_unix_socket": {"type": "path"},
    "login_db": {"type": "str", "default": "postgres"},
    "ssl_mode": {"type": "str", "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]},
    "ca_cert": {"type": "path"},
    "ssl_cert": {"type": "path"},
    "ssl_key": {"type": "path", "no_log": False},
    "session_role": {"type": "str"},
    "bin_directory": {"type": "path"},
}

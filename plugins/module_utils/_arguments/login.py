# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Options that say where the server is, and who we are there."""

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Params, Spec
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

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


def login_from(params: Params) -> Login:
    """Return where the server is and who we are there."""
    password: str | None = params["login_password"]
    if password is not None and ("\n" in password or "\r" in password):
        raise ArgumentInvalid(
            "login_password has a line break in it, which PostgreSQL's password files can't hold.",
            "Take it out; a block in YAML ends in one unless it begins with |- or >-.",
        )
    return Login(
        host=params["login_host"],
        port=params["login_port"],
        user=params["login_user"],
        password=password,
        unix_socket=params["login_unix_socket"],
        database=params["login_db"],
        ssl_mode=params["ssl_mode"],
        ca_cert=params["ca_cert"],
        ssl_cert=params["ssl_cert"],
        ssl_key=params["ssl_key"],
        session_role=params["session_role"],
    )


def given_login_from(params: Params) -> Login | None:
    """Return where the server is and who we are there, None where no option says where it is."""
    where = ("login_host", "login_port", "login_unix_socket")
    return login_from(params) if any(params[option] is not None for option in where) else None

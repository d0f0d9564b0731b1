# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - This and the options that begin with C(login_) or C(ssl_) are for PostgreSQL only.
      - Host name or address of the PostgreSQL server.
      - Left out, PostgreSQL's own rules hold, so that usually the socket of the local server is taken. The environment
        variables that PostgreSQL's programs know, such as E(PGSERVICE), are honoured.
      - A connection pooler that hands a session from client to client between transactions, such as PgBouncer with
        C(pool_mode=transaction), is refused with the code V(connection_pooled), also in check mode. The settings of C(pg_dump)
        and C(pg_restore) would reach the application. Go around it with the server's own address and O(login_port), or
        with O(login_unix_socket).
    type: str
  login_port:
    description: Port of the server. Left out, PostgreSQL's own rules hold, usually 5432.
    type: int
  login_user:
    description: PostgreSQL's user to log in as. Left out, it has the name of the user as whom the module runs.
    type: str
  login_password:
    description:
      - The user's password. Left out, PostgreSQL's own rules hold, so that C(~/.pgpass) is looked at.
      - It is handed to PostgreSQL's programs in a file that is only in memory, never in their arguments or environment.
    type: str
  login_unix_socket:
    description: Directory of the socket of a local server, such as V(/run/postgresql). Takes the place of O(login_host).
    type: path
  login_db:
    description: Database to connect to first, to list the others.
    type: str
    default: postgres
  ssl_mode:
    description:
      - Whether the connection is encrypted and what is checked, see U(https://www.postgresql.org/docs/current/libpq-ssl.html).
      - Left out, PostgreSQL's own rules hold, usually V(prefer), which checks nothing. V(verify-full) is the one that is
        safe over a network.
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
  ca_cert:
    description: File with the certificates of the authorities that may vouch for the server.
    type: path
  ssl_cert:
    description: File with our own certificate, where the server asks for one.
    type: path
  ssl_key:
    description: File with the key of O(ssl_cert).
    type: path
  session_role:
    description:
      - Role to change to after the login.
      - It decides who owns what is made. It takes no rights from the code in a backup that is restored, which can change back.
    type: str
  bin_directory:
    description:
      - Directory of PostgreSQL's programs, such as V(/opt/postgresql/18/bin).
      - Left out, the places where the distributions put each version are searched, then E(PATH). The version of the server
        is taken where it is found, else the nearest newer one.
    type: path
requirements:
  - psycopg2, for PostgreSQL
  - pg_dump of the server's major version or newer, for PostgreSQL
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - This and the options that begin with C(login_) or C(ssl_) are not for SQLite.
      - Host name or address of the server.
      - With MariaDB and MySQL, by default the local server's socket where the distributions have it, else V(localhost). Their
        option files and environment variables are not read.
      - With PostgreSQL, by default its own rules apply, which usually select the socket of the local server. The environment
        variables of PostgreSQL's programs, such as E(PGSERVICE), are honoured.
      - A connection pooler that hands a session from client to client between transactions, such as PgBouncer with
        C(pool_mode=transaction), is refused with the code V(connection_pooled), also in check mode. The settings of C(pg_dump)
        and C(pg_restore) would affect the application. To bypass the pooler, use the server's own address and O(login_port), or
        O(login_unix_socket).
    type: str
  login_port:
    description: Port of the server. By default PostgreSQL's own rules apply, usually 5432, and 3306 for MariaDB and MySQL.
    type: int
  login_user:
    description: User of the database server to log in as. By default the name of the user that runs the module.
    type: str
  login_password:
    description:
      - The user's password. By default PostgreSQL's own rules apply, which read C(~/.pgpass). With MariaDB and MySQL there is
        none, as for an account that C(unix_socket) or C(auth_socket) authenticates.
      - The module passes it to the server's programs in a file that exists only in memory, never in their arguments or
        environment.
    type: str
  login_password_file:
    description:
      - File on the host that has the user's password, instead of O(login_password). A line break at its end is no part of it.
      - A file that others than its owner and group can read is refused.
    type: path
  login_unix_socket:
    description:
      - Directory of the socket of a local PostgreSQL server, such as V(/run/postgresql). Replaces O(login_host).
      - With MariaDB and MySQL, the socket itself, such as V(/run/mysqld/mysqld.sock).
    type: path
  login_db:
    description: PostgreSQL database to connect to first, to list the others.
    type: str
    default: postgres
  ssl_mode:
    description:
      - Whether the connection is encrypted and what is checked, see U(https://www.postgresql.org/docs/current/libpq-ssl.html).
      - By default PostgreSQL's own rules apply, usually V(prefer), which checks nothing, as with MariaDB and MySQL over TCP.
        Only V(verify-full) is safe over a network.
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
      - Role to change to after the login, for PostgreSQL only.
      - This role owns the objects that are created. It does not restrict the code in a restored backup, which can change the
        role back.
    type: str
  bin_directory:
    description:
      - Directory of the server's programs, such as V(/opt/postgresql/18/bin).
      - By default the module searches the directories where the distributions install each version, then E(PATH). It uses the
        version of the server if it is installed, else the nearest newer one.
    type: path
requirements:
  - psycopg2, for PostgreSQL
  - PyMySQL, for MariaDB and MySQL, and cryptography for C(caching_sha2_password) over TCP without TLS
  - mariadb-dump or mysqldump, of the server's product, for MariaDB and MySQL
  - pg_dump of the server's major version or newer, for PostgreSQL
"""

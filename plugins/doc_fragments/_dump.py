# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  engine:
    description: What kind of databases they are. V(mysql) is MariaDB and MySQL.
    type: str
    choices: [postgresql, sqlite, mysql]
    default: postgresql
  databases:
    description:
      - Names of the databases, or absolute paths of the SQLite files.
      - By default every database of the PostgreSQL server that is not a template, that allows connections, and that does not
        belong to a hosting provider, such as C(rdsadmin). A warning names each database that is skipped. An empty list is an
        error.
      - With MariaDB and MySQL, by default every database that the user may see, except the server's own, such as C(mysql).
      - Required for SQLite, which has no catalog of databases.
    type: list
    elements: str
  exclude_databases:
    description:
      - Databases to exclude, as names or shell patterns such as V(test_*). For SQLite a pattern is matched against the whole
        path.
    type: list
    elements: str
    default: []
  include_globals:
    description:
      - Whether to also back up the globals of a PostgreSQL cluster, which are its roles and tablespaces, or the users, roles and
        grants of a MariaDB or MySQL server.
      - By default V(true) if O(databases) is not set.
      - The globals include the roles' password digests if the user may read them. Otherwise a warning says that they are
        missing.
    type: bool
  binlog_position:
    description:
      - Whether to record the position in the server's binary log in the manifest, for MariaDB and MySQL only. After a restore of
        the backup, the binary log is replayed from this position on, to restore to a later point in time.
      - By default it is recorded if the server is MariaDB and writes a binary log, since this needs no lock and no privilege.
      - With V(true), it is an error if the server writes no binary log. MySQL's C(mysqldump) then runs C(FLUSH TABLES WITH READ
        LOCK), and needs the privileges C(RELOAD) and C(REPLICATION CLIENT). While it waits for a statement that takes long, other
        sessions can't use the tables of that statement. It waits for C(lock_timeout) of M(lastgood.database.db_backup) at most.
      - V(false) never records it.
    type: bool
  format:
    description:
      - V(custom) is the engine's own format. With PostgreSQL it is what C(pg_restore) reads, with SQLite a database file, with
        MariaDB and MySQL SQL as text.
      - V(plain) is SQL as text, not for SQLite.
    type: str
    choices: [custom, plain]
    default: custom
"""

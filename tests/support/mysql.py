"""A MariaDB server for tests: the modules' login, databases to change, and dumps by its own program."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.tests.support.modules import (
    OURSELVES,
    Host,
    ModuleProcess,
    Outcome,
    run_module,
    running_module,
)
from tools.throwaway_mysql import Installation, Server, find_mariadb, find_mysql, find_newer_mariadb

SERVERS = {"mariadb-10.11": find_mariadb, "mariadb-11.8": find_newer_mariadb, "mysql-9.7": find_mysql}

# One of each object that may get lost, and of each value that may get changed.
CONTENT = r"""
create table item (
    id int primary key auto_increment, body text character set utf8mb4, raw blob,
    at datetime(6) default '2026-01-31 01:02:03.456789',
    doc json, hidden int invisible default 3, twice int as (hidden * 2) stored, next int as (hidden + 1) virtual,
    stamp timestamp default '2026-01-31 01:02:03', fulltext (body)
) comment 'it''s; a \\ comment';
insert into item (body, raw, doc, hidden) values ('a''b\\ "\n\t\r\0 é😀; -- #\Z', x'00ff10270a', '{"a": 1}', 9),
    (null, null, null, 1), ('', '', '[]', 0);
set sql_mode = ''; create table zero (d date, `odd ``name
; -- x` int); insert into zero values ('0000-00-00', 1); set sql_mode = default;
create table parent (id int primary key);
create table child (id int, p int, constraint fk foreign key (p) references parent (id));
insert into parent values (1); insert into child values (1, 1), (2, null);
create table plain (a int) engine = MyISAM; insert into plain values (1);
create sequence counter start 41; do nextval(counter);
create table versioned (a int) with system versioning; insert into versioned values (1); update versioned set a = 2;
create table parted (id int, y int)
    partition by range (y) (partition low values less than (10), partition rest values less than maxvalue);
insert into parted values (1, 5), (2, 50);
create table place (g geometry not null, spatial index (g)); insert into place values (point(1, 2));
create table log (x int);
create view bodies as select id, body from item; create sql security invoker view again as select * from bodies;
delimiter //
create trigger note after insert on child for each row begin /* kept; */ insert into log values (new.id); end//
create trigger more after insert on child for each row follows note insert into log values (new.id + 100)//
create function half(n int) returns int deterministic begin
    -- a comment; 'quoted
    return n / 2;
end//
create procedure texts() begin select 'x;y//', "*/"; end//
set sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'//
create procedure modes() begin select 'a\', "id" from item; end//
set sql_mode = default//
create event nightly on schedule every 1 day starts '2036-01-01' do delete from log where x < 0//
delimiter ;
"""

# The same for MySQL, which has no sequences and no history.
CONTENT_OF_MYSQL = r"""
create table item (
    id int primary key auto_increment, body text character set utf8mb4, raw_ blob, doc json, hidden int invisible default 3,
    twice int as (hidden * 2) stored, fulltext (body)
) comment 'it''s; a \\ comment';
insert into item (body, raw_, doc, hidden) values ('a''b\\ "\n\t\r\0 é😀; -- #\Z', x'00ff10270a', '{"a": 1}', 9),
    (null, null, null, 1);
create table parent (id int primary key);
create table child (id int, p int, constraint fk foreign key (p) references parent (id));
insert into parent values (1); insert into child values (1, 1);
create table plain (a int) engine = MyISAM; insert into plain values (1);
create table place (g geometry not null srid 4326, spatial index (g));
insert into place values (st_geomfromtext('point(1 2)', 4326));
create table log (x int);
create view bodies as select id, body from item; create sql security invoker view again as select * from bodies;
delimiter //
create trigger note after insert on child for each row begin /* kept; */ insert into log values (new.id); end//
create trigger more after insert on child for each row follows note insert into log values (new.id + 100)//
create function half(n int) returns int deterministic begin
    -- a comment; 'quoted
    return n / 2;
end//
set sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'//
create procedure modes() begin select 'a\', "id" from item; end//
set sql_mode = default//
create event nightly on schedule every 1 day starts '2036-01-01' do delete from log where x < 0//
delimiter ;
create view using_it as select half(4) as two;
"""

HOSTILE = ["-x", "we`ird'\"\né;x -- \\ $HOME", "a/b", "..", "x y", "CaSe", "--help", "%s", "user=mallory"]

_numbers = itertools.count(1)


class MysqlSite(NamedTuple):
    """A database, and the directory where its backups go."""

    server: Server
    database: str
    directory: Path

    def options(self, **over: Any) -> dict[str, Any]:
        return {"directory": str(self.directory), "databases": [self.database], **login(self.server), **over}

    def back_up(self, *, host: Host = OURSELVES, check: bool = False, **over: Any) -> Outcome:
        return run_module("db_backup", self.options(**over), host=host, check=check)

    def backing_up(self, **over: Any) -> contextlib.AbstractContextManager[ModuleProcess]:
        return running_module("db_backup", self.options(**over))

    def restore(self, *, check: bool = False, **over: Any) -> Outcome:
        return run_module("db_restore", self.restore_options(**over), check=check)

    def restoring(self, **over: Any) -> contextlib.AbstractContextManager[ModuleProcess]:
        return running_module("db_restore", self.restore_options(**over))

    def restore_options(self, **over: Any) -> dict[str, Any]:
        options = {"database": self.database, "source_database": self.database, "if_exists": "replace", **over}
        return {"directory": str(self.directory), **login(self.server), **options}

    def verify(self, level: str, **over: Any) -> Outcome:
        return run_module("backup_verify", directory=str(self.directory), level=level, **over)

    def sql(self, text: str) -> str:
        return self.server.sql(text, self.database)

    def rewrite(self, old: bytes, new: bytes) -> None:
        """Change the content of the only backup of the database, and its manifest with it."""
        [payload] = self.directory.glob("backup_[!@]*.gz")
        content = gzip.decompress(payload.read_bytes())
        assert content.count(old) == 1
        content = content.replace(old, new)
        data = gzip.compress(content)
        payload.write_bytes(data)
        path = payload.with_name(f"{payload.name}.manifest.json")
        manifest = json.loads(path.read_text())
        manifest.update(payload_bytes=len(data), payload_sha256=hashlib.sha256(data).hexdigest(), verification=None)
        manifest.update(content_bytes=len(content), content_sha256=None, content_blake3=None)
        path.write_text(json.dumps(manifest))

    def grow(self, megabytes: int) -> None:
        """Add data that no compressor makes smaller."""
        rows = megabytes * 1024
        limit = "cte_max_recursion_depth" if self.server.installation.product == "MySQL" else "max_recursive_iterations"
        self.sql(
            f"create table if not exists noise (raw longblob); set session {limit} = {rows}; insert into noise "
            f"with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < {rows}) "
            "select random_bytes(1024) from numbers"
        )


def content_of(server: Server) -> str:
    """Return SQL that makes one of each object of the server's product."""
    return CONTENT if server.installation.product == "MariaDB" else CONTENT_OF_MYSQL


def login(server: Server, **over: Any) -> dict[str, Any]:
    """Return a module's options to reach a server."""
    where = server.installation.bin_directory
    programs = {} if where is None else {"bin_directory": str(where)}
    return {"engine": "mysql", "login_unix_socket": str(server.socket), "login_user": server.user, **programs, **over}


@contextlib.contextmanager
def servers_by_name(
    settings_of: Callable[[Installation], tuple[str, ...]], *, tcp: bool = False
) -> Iterator[Callable[[str], Server]]:
    """Yield a function that returns one of SERVERS. Each is started once, with the settings of its product."""
    with contextlib.ExitStack() as stack:
        running: dict[str, Server] = {}

        def server_of(name: str) -> Server:
            if name not in running:
                installation = SERVERS[name]()
                if installation is None:
                    pytest.skip(f"no server {name} on this machine; tools/other_servers makes those of other Debians")
                running[name] = stack.enter_context(Server.start(installation, tcp=tcp, settings=settings_of(installation)))
            return running[name]

        yield server_of


@contextlib.contextmanager
def database_on(server: Server, name: str | None = None, sql: str = "create table t as select 1 as n") -> Iterator[str]:
    """Make a database, and drop it in the end."""
    name = name or f"app{next(_numbers)}"
    server.sql(f"create database {quoted(name)}")
    try:
        server.sql(sql, name)
        yield name
    finally:
        server.sql(f"drop database if exists {quoted(name)}")


def quoted(name: str) -> str:
    doubled = name.replace("`", "``")
    return f"`{doubled}`"


def dump_of(server: Server, database: str) -> str:
    """Return a database as the server's own program dumps it, without the names of the host and of the database."""
    return re.sub(r"^-- .*\n", "", server.dump(database), flags=re.MULTILINE)

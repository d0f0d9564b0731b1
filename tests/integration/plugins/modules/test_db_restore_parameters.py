"""Privileges on a server's parameters, in the globals and back."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module
from ansible_collections.lastgood.database.tests.support.postgresql import Site, drop, every_version, login
from tools.throwaway_postgresql import Server

_ROLES = ("alice", '"o\'dd one"', "bob", "nightly")
_MAKE = """
create role alice; create role "o'dd one"; create role bob; create role nightly superuser;
grant set on parameter log_min_duration_statement to alice with grant option;
grant set, alter system on parameter work_mem to "o'dd one";
grant set on parameter "my.setting" to alice;
set role alice; grant set on parameter log_min_duration_statement to bob; reset role;
"""
_GRANTED = """
select parname, grantor::regrole, grantee::regrole, privilege_type, is_grantable
from pg_parameter_acl, aclexplode(paracl) where grantee not in (10) order by 1, 2, 3, 4
"""


def forget(server: Server) -> None:
    for role in _ROLES:
        server.psql(f"drop owned by {role} cascade; drop role {role}")


@pytest.fixture
def granted(site: Site) -> Iterator[Site]:
    site.server.psql(_MAKE)
    yield site
    drop(site.server, site.database)
    forget(site.server)


def restore(site: Site, **over: Any) -> Outcome:
    options = {"directory": str(site.directory), "database": site.database, "include_globals": True, **login(site.server)}
    return run_module("db_restore", **{**options, **over})


@every_version
@pytest.mark.parametrize("role", [None, "helper"])
def test_new_roles_are_granted_what_they_had_on_parameters(granted: Site, role: str | None) -> None:
    server = granted.server
    before = server.psql(_GRANTED)
    granted.back_up(include_globals=True)
    drop(server, granted.database)
    forget(server)
    server.psql("create role helper superuser")
    try:
        outcome = restore(granted, session_role=role)
        assert outcome.changed
        assert outcome.warnings == []
        assert server.psql(_GRANTED).replace("helper", "postgres") == before
    finally:
        server.psql(f"reassign owned by helper to postgres; alter database {granted.database} owner to postgres")
        server.psql("drop owned by helper cascade; drop role helper")


def test_a_role_that_exists_already_is_granted_nothing_and_a_warning_says_so(granted: Site) -> None:
    server = granted.server
    server.psql("grant set on parameter maintenance_work_mem to public")
    granted.back_up(include_globals=True)
    drop(server, granted.database)
    forget(server)
    server.psql("revoke set on parameter maintenance_work_mem from public; create role alice")
    outcome = restore(granted)
    assert outcome.changed
    assert server.psql("select has_parameter_privilege('alice', 'log_min_duration_statement', 'SET')") == "f"
    assert any("ON PARAMETER log_min_duration_statement TO alice" in warning for warning in outcome.warnings)
    assert any("ON PARAMETER maintenance_work_mem TO PUBLIC" in warning for warning in outcome.warnings)
    # By alice, who may not grant it here.
    assert any("granted by alice" in warning and "TO bob" in warning for warning in outcome.warnings)


def test_roles_with_privileges_on_parameters_go_when_the_restore_fails(
    granted: Site, failing_restore: Callable[[], Outcome]
) -> None:
    outcome = failing_restore()
    assert outcome.error_code == "program_failed"
    assert granted.server.psql("select count(*) from pg_roles where rolname in ('alice', 'bob')") == "0"
    assert "could be removed" not in outcome.msg
    granted.server.psql(_MAKE)  # which the fixture drops


@pytest.fixture
def failing_restore(granted: Site) -> Callable[[], Outcome]:
    """A restore that fails when the roles have been made."""
    granted.sql("create function f(n int) returns int language sql as $$ select 1 $$")
    granted.sql("create table checked (n int check (f(n) is not null)); insert into checked values (1)")
    granted.sql("create or replace function f(n int) returns int language sql as $$ select 1 / 0 $$")
    granted.back_up(include_globals=True)
    drop(granted.server, granted.database)
    forget(granted.server)
    return lambda: restore(granted)

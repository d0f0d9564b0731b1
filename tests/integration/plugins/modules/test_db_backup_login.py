"""db_backup and the ways to a PostgreSQL server: TLS, services, roles, servers of others, and names in other encodings."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ansible_collections.lastgood.database.tests.support.certificates import make_certificates
from ansible_collections.lastgood.database.tests.support.impostor import Impostor
from ansible_collections.lastgood.database.tests.support.modules import Host, run_module
from ansible_collections.lastgood.database.tests.support.observe import assert_whole, manifest
from ansible_collections.lastgood.database.tests.support.postgresql import (
    Site,
    database_on,
    every_version,
    login,
    restore_plain,
)
from tools.throwaway_postgresql import Installation, Server, find_installations

# --- TLS ------------------------------------------------------------------------------------------


class Tls(NamedTuple):
    """A server that talks TLS alone, to holders of a certificate, and the files of its authority and of a client."""

    server: Server
    folder: Path

    def options(self, directory: Path, **over: object) -> dict[str, object]:
        return {
            "directory": str(directory),
            "databases": ["postgres"],
            "login_host": "localhost",
            "login_port": self.server.port,
            "login_user": self.server.user,
            "bin_directory": str(self.server.bin_directory),
            "ssl_mode": "verify-full",
            "ca_cert": str(self.folder / "authority.crt"),
            "ssl_cert": str(self.folder / "client.crt"),
            "ssl_key": str(self.folder / "client.key"),
            **{name: str(value) if isinstance(value, Path) else value for name, value in over.items()},
        }


def with_tls() -> Installation | None:
    """The newest installation that was built with OpenSSL; the wheel's are not."""
    for one in sorted(find_installations(), reverse=True):
        told = subprocess.run((one.bin_directory / "pg_config", "--configure"), capture_output=True, text=True, check=False)
        if "openssl" in told.stdout:
            return one
    return None


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    installation = with_tls()
    if installation is None or shutil.which("openssl") is None:
        pytest.skip("no PostgreSQL with TLS, or no openssl, on this machine")
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    hba = "local all all trust\nhostssl all all 127.0.0.1/32 cert\n"
    with Server.start(installation, tcp=True, hba=hba, settings={"ssl_ca_file": "authority.crt"}) as server:
        owner = server.data_directory.stat()
        for name in ("authority.crt", "server.crt", "server.key"):
            copied = Path(shutil.copy(folder / name, server.data_directory))
            copied.chmod(0o600)
            os.chown(copied, owner.st_uid, owner.st_gid)
        server.psql("alter system set ssl = on")
        server.stop()
        server.restart()
        yield Tls(server, folder)


def test_a_server_whose_certificate_is_checked_in_full_is_backed_up(tls: Tls, tmp_path: Path) -> None:
    outcome = run_module("db_backup", include_globals=True, **tls.options(tmp_path / "backups"))
    assert outcome.outcomes == ["created", "created"]  # by psycopg2, pg_dump and pg_dumpall
    assert_whole(tmp_path / "backups")


REFUSED: dict[str, tuple[Callable[[Tls], dict[str, object]], str]] = {
    "the server's name is another": (lambda tls: {"login_host": "127.0.0.1"}, "does not match host name"),
    "the authority is another": (lambda tls: {"ca_cert": tls.folder / "stranger.crt"}, "certificate verify failed"),
    "the authority's file is missing": (lambda tls: {"ca_cert": tls.folder / "missing.crt"}, "missing.crt"),
    "our certificate is missing": (lambda tls: {"ssl_cert": None, "ssl_key": None}, "certificate"),
    "TLS is turned off": (lambda tls: {"ssl_mode": "disable"}, "no encryption"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_connection_that_is_not_as_asked_for_is_refused_in_the_servers_words(tls: Tls, tmp_path: Path, case: str) -> None:
    over, words = REFUSED[case]
    home = Host(environment={"HOME": str(tmp_path)})
    outcome = run_module("db_backup", host=home, **tls.options(tmp_path / "backups", **over(tls)))
    assert outcome.error_code in ("connection_failed", "authentication_failed")
    assert words in outcome.msg
    assert not (tmp_path / "backups").exists()


# --- Ways to name a server ------------------------------------------------------------------------


def test_a_connection_service_of_the_users_is_honoured(site: Site, tmp_path: Path) -> None:
    service = tmp_path / "pg_service.conf"
    socket = site.server.socket_directory
    service.write_text(f"[shop]\nhost={socket}\nport={site.server.port}\nuser=postgres\n")
    host = Host(environment={"PGSERVICEFILE": str(service), "PGSERVICE": "shop"})
    nothing = dict.fromkeys(("login_unix_socket", "login_port", "login_user"))
    assert site.back_up(host=host, include_globals=True, **nothing).outcomes == ["created", "created"]


def test_a_host_that_is_a_path_is_a_socket(site: Site) -> None:
    host = str(site.server.socket_directory)
    assert site.back_up(login_host=host, login_unix_socket=None).outcomes == ["created"]


def test_the_first_connection_goes_to_login_db(site: Site) -> None:
    site.sql("revoke connect on database postgres from public; create role narrow login in role pg_read_all_data")
    try:
        refused = site.back_up(login_user="narrow")
        assert refused.error_code == "connection_failed"
        assert "login_db" in refused.msg
        assert site.back_up(login_user="narrow", login_db=site.database).outcomes == ["created"]
    finally:
        site.sql("grant connect on database postgres to public; drop role narrow")


def test_session_role_is_the_role_of_questions_and_dumps(site: Site) -> None:
    site.sql("create role reader in role pg_read_all_data; create role person login noinherit in role reader")
    site.sql("revoke all on table t from public")
    try:
        refused = site.back_up(login_user="person")
        assert refused.error_code == "program_failed"
        assert "permission denied" in refused.msg
        assert site.back_up(login_user="person", session_role="reader", include_globals=True).outcomes == ["created"] * 2
    finally:
        site.sql("drop role person; drop role reader")


# --- Servers that others run ----------------------------------------------------------------------


@every_version
def test_a_managed_server_is_backed_up_without_a_superuser(site: Site, tmp_path: Path) -> None:
    """As such services have it: no superuser, no system identifier, no digests, and a database of the provider's own."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(database_on(site.server, "rdsadmin"))
        site.server.psql("revoke connect on database rdsadmin from public")
        site.server.psql("revoke execute on function pg_control_system() from public")  # of the first connection's database
        stack.callback(site.server.psql, "grant execute on function pg_control_system() to public")
        site.sql("create role master login createdb createrole; create role keeper password 'digest me'")
        site.sql("grant select on t to master")
        stack.callback(site.sql, "drop owned by master; drop role master, keeper")
        outcome = site.back_up(databases=None, login_user="master")
        assert outcome.outcomes == ["created"] * 3
        assert {record["database"] for record in outcome.backups} == {"postgres", site.database, None}
        assert any("rdsadmin" in warning for warning in outcome.warnings)
        assert any("password digests" in warning for warning in outcome.warnings)
        assert {record["instance"] for record in outcome.backups} == {f"{site.server.socket_directory}:{site.server.port}"}
        assert site.back_up(databases=None, login_user="master").outcomes == ["unchanged"] * 3


def test_globals_make_the_roles_of_a_new_server(site: Site, tmp_path: Path) -> None:
    with Server.start(site.server.installation) as old, Server.start(site.server.installation) as new:
        old.psql(
            "create role team; create role ann login password 'digest me' valid until '2030-01-01' in role team;"
            'alter role ann set work_mem = \'8MB\'; create role "o\'dd ""one""" connection limit 3'
        )
        outcome = Site(old, "postgres", tmp_path / "backups").back_up(include_globals=True)
        [path] = [Path(record["path"]) for record in outcome.backups if record["kind"] == "globals"]
        restore_plain(new, path, into="postgres", stop_on_error=False)  # the role postgres is there already
        asked = (
            "select a.*, m.roleid::regrole, s.setconfig from (select rolname, rolpassword, rolcanlogin, rolvaliduntil,"
            " rolconnlimit, oid from pg_authid where rolname !~ '^(pg_|postgres)') a left join pg_auth_members m on"
            " m.member = a.oid left join pg_db_role_setting s on s.setrole = a.oid order by rolname"
        ).replace("a.*", "rolname, rolpassword, rolcanlogin, rolvaliduntil, rolconnlimit")
        assert new.psql(asked) == old.psql(asked)
        assert "SCRAM-SHA-256" in new.psql(asked)


# --- Names in another encoding --------------------------------------------------------------------


def test_a_name_that_is_no_utf_8_is_backed_up_and_spoils_nothing(site: Site) -> None:
    name = os.fsdecode(b"caf\xe9")
    with database_on(site.server, sql="") as latin:
        site.server.psql(f"drop database {latin}")
        site.server.psql(f"create database {latin} encoding 'LATIN1' template template0 locale 'C'")
        make = "create database \"caf\u00e9\" encoding 'LATIN1' template template0 locale 'C'".encode("latin-1")
        in_latin = {**site.server.environment, "PGCLIENTENCODING": "LATIN1", "PGDATABASE": latin}
        psql = (site.server.bin_directory / "psql", "--no-psqlrc", "--quiet", "--command")
        subprocess.run((*psql, make), env=in_latin, check=True)
        try:
            outcome = site.back_up(databases=None, include_globals=False)
            assert set(outcome.outcomes) == {"created"}
            odd = next(record for record in outcome.backups if record["database"] == "caf\\udce9")
            assert manifest(Path(odd["path"]))["database"] == name
            assert set(site.back_up(databases=None, include_globals=False).outcomes) == {"unchanged"}
            assert_whole(site.directory)
        finally:
            subprocess.run((*psql, 'drop database "caf\u00e9"'.encode("latin-1")), env=in_latin, check=True)


# --- Nothing to do --------------------------------------------------------------------------------


def test_a_run_that_leaves_every_database_out_says_so(site: Site) -> None:
    outcome = site.back_up(exclude_databases=["*"])
    assert (outcome.changed, outcome.backups) == (False, [])
    assert any("nothing to back up" in warning for warning in outcome.warnings)


def test_what_the_locale_cannot_write_is_an_error(tmp_path: Path, server: Server) -> None:
    outcome = run_module("db_backup", directory=str(tmp_path / "b"), databases=["\ud800"], **login(server))
    assert outcome.error_code == "argument_invalid"


# --- One server for all -----------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["pg_dump", "pg_dumpall", "pg_restore"])
def test_programs_are_led_to_the_server_that_answered(site: Site, tmp_path: Path, program: str) -> None:
    there = str(site.server.socket_directory)
    environment = {"PGHOST": f"/nonexistent,{there}", "PGPORT": str(site.server.port), "PGUSER": site.server.user}
    folder = tmp_path / "fake"
    told = Impostor(folder, site.server.bin_directory, 'note("told", "\\n".join(arguments)); go_on()', program=program)
    options = {"directory": str(tmp_path / "backups"), "bin_directory": str(told.bin_directory)}
    host = Host(environment=environment)
    assert run_module("db_backup", host=host, databases=[site.database], include_globals=True, **options).changed
    if program == "pg_restore":
        assert run_module("db_restore", host=host, database=site.database, if_exists="replace", **options).changed
    [connection] = [line for line in (told.notes / "told").read_text().splitlines() if line.startswith("--dbname=")]
    assert f"host='{there}' port='{site.server.port}'" in connection

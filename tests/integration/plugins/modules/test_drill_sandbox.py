"""What the code in a backup can do to the host of its drill: nothing. As root, and as a user without privileges."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.interpreters import UNPRIVILEGED
from ansible_collections.lastgood.database.tests.support.modules import OURSELVES, Host, Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import payload, runs, wait_until
from ansible_collections.lastgood.database.tests.support.places import AS_ROOT, common_disk, only_root
from ansible_collections.lastgood.database.tests.support.postgresql import Site, database_on, every_version
from tools.throwaway_postgresql import Server


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where drills put their servers. In the end nothing is left there."""
    folder = Path(tempfile.mkdtemp(prefix="d-", dir="/tmp"))
    folder.chmod(0o1777)
    try:
        yield folder
        assert not list(folder.iterdir())
    finally:
        subprocess.run(("rm", "-rf", folder), check=True)


@pytest.fixture(params=[pytest.param("root", marks=pytest.mark.skipif(not AS_ROOT, reason="only for root")), "user"])
def host(request: pytest.FixtureRequest, temporary: Path) -> Host:
    who: Host = OURSELVES if request.param == "root" else request.getfixturevalue("unprivileged")
    return dataclasses.replace(who, environment={**who.environment, "TMPDIR": str(temporary)})


@pytest.fixture
def directory(open_folder: Path, host: Host) -> Path:
    """A directory of backups that belongs to whoever runs the drill."""
    path = open_folder / "backups"
    path.mkdir(mode=0o700)
    return path


def back_up(site: Site, directory: Path, host: Host, *databases: str) -> None:
    site.back_up(directory=str(directory), databases=list(databases) or [site.database])
    if host.uid is not None:
        subprocess.run(("chown", "-R", f"{host.uid}:{host.uid}", directory), check=True)


def drill(site: Site, directory: Path, host: Host) -> Outcome:
    bin_directory = str(site.server.bin_directory)
    return run_module("backup_verify", host=host, directory=str(directory), level="restore", bin_directory=bin_directory)


def verdicts(outcome: Outcome) -> list[str]:
    return [one["verdict"] for one in outcome.result["verified"]]


def code(script: str, then: str = "raise exception 'the code says: %', said;") -> str:
    """SQL for a database whose owner has a shell script run when a row of it is restored, and tells what the script said."""
    return f"""
        create function harm(n int) returns boolean language plpgsql as $function$
        declare
            said text;
        begin
            if current_database() ~ '_restoring_' then
                execute format('copy (select 1) to program %L', $script$cat >/dev/null; {{ {script}
                }} >said 2>&1 </dev/null || true$script$);
                create temporary table line (text text);
                copy line from program 'tr "\\t\\134" "  " <said';
                select string_agg(text, ' | ') into said from line;
                drop table line;
                {then}
            end if;
            return true;
        end $function$;
        create table victim (n int check (harm(n)));
        insert into victim values (1);
        """


def said_by(site: Site, directory: Path, host: Host, script: str) -> str:
    """What a script says that the code in a backup runs."""
    site.sql(code(script))
    back_up(site, directory, host)
    [verified] = drill(site, directory, host).result["verified"]
    assert "the code says: " in verified["detail"], verified
    return str(verified["detail"].partition("the code says: ")[2])


@contextlib.contextmanager
def bystander(host: Host) -> Iterator[int]:
    """Another process of the user that runs the drill, or that servers run as on a host of root's."""
    process = subprocess.Popen(("sleep", "600"), user=UNPRIVILEGED if AS_ROOT else None, cwd="/")
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@every_version
def test_the_code_runs_and_finds_an_almost_empty_host(site: Site, directory: Path, host: Host) -> None:
    said = said_by(site, directory, host, "id -un; ls / /home /root /run /var; cat /etc/shadow; ls /tmp")
    assert said.startswith("postgres | ")
    assert "usr" in said and "No such file" in said
    assert "d-" not in said and "root:" not in said


def test_the_code_can_not_touch_the_backups(site: Site, directory: Path, host: Host) -> None:
    said = said_by(site, directory, host, f"ls {directory}; rm -rf {directory}; rm -rf {directory}/backup_*; cat {directory}/*")
    assert payload(directory).exists()
    assert "backup_" not in said.replace("backup_*", "")


def test_the_code_can_not_read_what_the_user_of_the_drill_may_read(
    site: Site, directory: Path, open_folder: Path, host: Host
) -> None:
    secret = open_folder / "secret"
    secret.write_text("pssst")
    secret.chmod(0o600)
    if AS_ROOT:
        os.chown(secret, UNPRIVILEGED, UNPRIVILEGED)
    said = said_by(site, directory, host, f"cat {secret}; cat /proc/*/root{secret}; ls {site.server.data_directory}")
    assert "pssst" not in said and "PG_VERSION" not in said


def test_the_code_does_not_see_the_environment_of_the_module(site: Site, directory: Path, host: Host) -> None:
    host = dataclasses.replace(host, environment={**host.environment, "API_TOKEN": "pssst"})
    said = said_by(site, directory, host, "env; cat /proc/*/environ")
    assert "PATH=" in said and "pssst" not in said and "API_TOKEN" not in said


def test_the_code_reaches_no_server_of_the_host(site: Site, server: Server, directory: Path, host: Host) -> None:
    psql = f"{server.bin_directory}/psql -X -w -U postgres -d postgres -Atc 'select chr(33) || chr(33)'"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        port = listener.getsockname()[1]
        script = f"""{psql} -h {server.socket_directory} -p {server.port}
            PGCONNECT_TIMEOUT=3 {psql} -h 127.0.0.1 -p {port} & sleep 1; kill $!"""
        said = said_by(site, directory, host, script)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert "!!" not in said
    assert "No such file" in said


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the code calls the kernel by the numbers of one processor")
def test_the_code_reads_no_key_and_reaches_no_other_machine(site: Site, directory: Path, host: Host) -> None:
    perl = r"""perl -e '
        printf "keyring %d\n", syscall(250, 0, -3, 0);
        for my $family (40, 17) { print "family $family: ", (socket(my $one, $family, 1, 0) ? "made" : "$!"), "\n" }
        print "inside: ", (socket(my $other, 1, 1, 0) ? "made" : "$!"), "\n"' """
    said = said_by(site, directory, host, perl)
    assert "keyring -1" in said
    assert "family 40: Address family not supported" in said and "family 17: Address family not supported" in said
    assert "inside: made" in said


def test_the_code_sees_no_process_of_the_host_and_ends_none(site: Site, directory: Path, host: Host) -> None:
    with bystander(host) as pid:
        said = said_by(site, directory, host, f"kill -9 {pid} || echo no; ls /proc | grep -c . || true")
        assert runs(pid)
    assert "no" in said


def test_no_process_of_the_code_outlives_the_drill(site: Site, directory: Path, host: Host) -> None:
    mark = f"{os.getpid()}.125"
    forks = f"cd /; (setsid sh -c 'setsid sleep {mark} >/dev/null 2>&1 </dev/null &' &); sleep 0.3; echo begun"
    assert "begun" in said_by(site, directory, host, forks)
    living = [path for path in Path("/proc").glob("[0-9]*/cmdline") if mark in _text(path)]
    try:
        assert not living
    finally:
        for path in living:
            os.kill(int(path.parent.name), signal.SIGKILL)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_a_link_in_place_of_the_socket_leads_us_nowhere(site: Site, server: Server, directory: Path, host: Host) -> None:
    live = f"{server.socket_directory}/.s.PGSQL.{server.port}"
    script = f"cd ..; ln -sf {live} .s.PGSQL.5432; ls -l .s.PGSQL.5432"
    site.sql(code(script, then="if said is null then raise exception 'no link'; end if;"))
    back_up(site, directory, host)
    assert verdicts(drill(site, directory, host)) == ["passed"]


def test_no_folder_of_the_code_is_too_deep_or_too_closed_to_be_removed(site: Site, directory: Path, host: Host) -> None:
    script = """mkdir -p closed/inner; touch closed/inner/file; chmod 0 closed/inner closed; ln -s / link; d=dddddddddddddddd
        i=0; while [ $i -lt 1500 ]; do mkdir $d; cd -P $d || break; i=$((i + 1)); done; echo $i deep"""
    assert "1500 deep" in said_by(site, directory, host, script)


def test_what_the_code_leaves_on_its_server_is_not_there_for_the_next_backup(site: Site, directory: Path, host: Host) -> None:
    site.sql(code("true", then="create role left_behind;"))
    back_up(site, directory, host)
    looks = "select string_agg(rolname, ' ') into said from pg_roles where rolname ~ 'left'; raise exception 'found: %', said;"
    with database_on(site.server, sql=code("true", then=looks)) as another:
        back_up(site, directory, host, another)
    verified = drill(site, directory, host).result["verified"]
    assert [one["verdict"] for one in verified] == ["passed", "failed"]
    assert "found: <NULL>" in verified[1]["detail"]


def test_the_code_gets_no_more_processes_than_a_few(site: Site, directory: Path, host: Host) -> None:
    script = "i=0; while [ $i -lt 700 ]; do sleep 60 & i=$((i + 1)); done; echo all | tr al AL"
    site.sql(code(script))
    back_up(site, directory, host)
    assert "ALL" not in drill(site, directory, host).result["verified"][0]["detail"]


def test_the_code_does_not_hide_its_error_behind_warnings_nor_slow_the_drill_by_them(
    site: Site, directory: Path, host: Host
) -> None:
    flood = "for _ in 1..100 loop raise warning '%', repeat('w', 1000000); end loop;"
    site.sql(code("true", f"set client_min_messages = warning; {flood} raise exception 'the end';"))
    site.back_up(directory=str(directory), databases=[site.database], format="plain")
    if host.uid is not None:
        subprocess.run(("chown", "-R", f"{host.uid}:{host.uid}", directory), check=True)
    begun = time.monotonic()
    done = drill(site, directory, host)
    assert verdicts(done) == ["failed"]
    assert "the end" in done.result["verified"][0]["detail"]
    assert time.monotonic() - begun < 60


@only_root
def test_the_code_does_not_fill_the_disk(site: Site, directory: Path) -> None:
    site.sql(code("while dd if=/dev/zero bs=1M count=1 >>filler 2>/dev/null; do sleep 0.05; done"))
    back_up(site, directory, OURSELVES)
    with common_disk("200m") as disk:
        done = drill(site, directory, Host(environment={"TMPDIR": str(disk)}))
        assert not list(disk.iterdir())
    assert verdicts(done) == ["inconclusive"]
    assert "No space left: the drill was ended" in done.result["verified"][0]["detail"]


@only_root
def test_the_code_does_not_use_up_the_file_system_s_files(site: Site, directory: Path) -> None:
    site.sql(code("i=0; while mkdir d$i && touch $(seq -f d$i/%g 100); do i=$((i + 1)); sleep 0.02; done 2>/dev/null"))
    back_up(site, directory, OURSELVES)
    with common_disk("1g,nr_inodes=40000") as disk:
        done = drill(site, directory, Host(environment={"TMPDIR": str(disk)}))
        assert not list(disk.iterdir())
    assert verdicts(done) == ["inconclusive"]
    assert "less than 2000 files free" in done.result["verified"][0]["detail"]


def test_a_drill_that_is_killed_takes_its_server_with_it_and_the_next_removes_its_folder(
    site: Site, directory: Path, host: Host, temporary: Path
) -> None:
    mark = f"{os.getpid()}.625"
    site.sql(code(f"setsid sleep {mark}"))
    back_up(site, directory, host)

    def sleeping() -> bool:
        return any(mark in _text(path) and "setsid" not in _text(path) for path in Path("/proc").glob("[0-9]*/cmdline"))

    options = {"directory": str(directory), "level": "restore", "bin_directory": str(site.server.bin_directory)}
    with running_module("backup_verify", host=host, **options) as process:
        wait_until(lambda: sleeping() or process.ended)
        assert not process.ended
        process.kill()
        wait_until(lambda: not sleeping())
    [left] = temporary.iterdir()
    shutil.rmtree(directory)
    directory.mkdir(mode=0o700)
    site.sql("drop table victim")
    back_up(site, directory, host)
    assert verdicts(drill(site, directory, host)) == ["passed"]
    assert not left.exists()


def test_a_user_who_may_not_make_a_sandbox_is_refused_with_what_to_do(
    site: Site, directory: Path, unprivileged: Host, temporary: Path, tmp_path: Path
) -> None:
    host = dataclasses.replace(unprivileged, environment={**unprivileged.environment, "TMPDIR": str(temporary)})
    folder = Path(tempfile.mkdtemp(prefix="p-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        (folder / "unshare").write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
        (folder / "unshare").chmod(0o755)
        path = f"{folder}:{host.environ()['PATH']}"
        host = dataclasses.replace(host, environment={**host.environment, "PATH": path})
        back_up(site, directory, host)
        done = drill(site, directory, host)
    finally:
        shutil.rmtree(folder)
    assert verdicts(done) == ["inconclusive"]
    assert "Run the task as root" in done.result["verified"][0]["detail"]

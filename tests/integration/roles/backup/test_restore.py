"""The role's restore, run by ansible-playbook as a user runs it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.postgresql import VERSIONS, database_on
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer
from tools.throwaway_postgresql import Server, installation

PASSWORD = "c0rrect-horse"
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: lastgood.database.backup
        tasks_from: restore
"""


def play(folder: Path, variables: dict[str, t.Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Restore on this host."""
    (folder / "play.yml").write_text(PLAY)
    file = folder / "variables.json"
    file.write_text(json.dumps({"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}))
    command = ["ansible-playbook", str(folder / "play.yml"), "--inventory", "db7,", "--extra-vars", f"@{file}"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """An SQLite database with a backup of it and a change since."""
    path = tmp_path / "notes.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.commit()
    assert run_module("db_backup", engine="sqlite", directory=str(tmp_path / "b"), databases=[str(path)]).changed
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE note")
        connection.commit()
    return path


def tables(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]


def test_each_database_is_restored_and_one_that_fails_does_not_keep_the_others(tmp_path: Path, notes: Path) -> None:
    restores = [
        {"engine": "sqlite", "database": str(notes)},
        {"engine": "sqlite", "database": str(notes), "if_exists": "replace"},
    ]
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_restores": restores})
    assert finished.returncode == 2
    assert "already exists" in finished.stdout
    assert tables(notes) == ["note"]


def test_check_mode_changes_nothing_and_says_what_it_would_do(tmp_path: Path, notes: Path) -> None:
    restores = [{"engine": "sqlite", "database": str(notes), "if_exists": "replace", "directory": str(tmp_path / "b")}]
    finished = play(tmp_path, {"backup_restores": restores}, "--check", "--diff")
    assert finished.returncode == 0, finished.stdout
    assert "+backup_notes.db_" in finished.stdout
    assert tables(notes) == []


def test_a_restore_without_a_directory_or_with_an_unknown_option_is_refused(tmp_path: Path, notes: Path) -> None:
    one = {"engine": "sqlite", "database": str(notes), "if_exists": "replace"}
    for variables in (
        {"backup_restores": [one]},
        {"backup_directory": str(tmp_path / "b"), "backup_restores": [{**one, "if_exist": "replace"}]},
    ):
        assert play(tmp_path, variables).returncode == 2
    assert tables(notes) == []


def test_a_password_is_not_shown_however_much_is(tmp_path: Path, notes: Path) -> None:
    down = {"database": "app", "login_unix_socket": str(tmp_path), "login_user": "backup", "login_password": PASSWORD}
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_restores": [down]}, "-vvv")
    assert finished.returncode == 2
    assert PASSWORD not in finished.stdout + finished.stderr


# --- Another host's backups, and everything in one go ---------------------------------------------------------------


def rows(finished: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Return the database and the outcome of each line of the table."""
    pattern = r"db7  +([^\s(]\S*) +(?:\S+:?\d* +)?(restored|would restore|exists|failed)\b"
    return [[os.path.basename(name), outcome] for name, outcome in re.findall(pattern, finished.stdout)]


def make_database(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.execute("INSERT INTO note VALUES (?)", (text,))
        connection.commit()


def text_in(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT text FROM note").fetchone()[0])


def back_up(directory: Path, path: Path, **over: t.Any) -> None:
    options = {"engine": "sqlite", "directory": str(directory), "databases": [str(path)], "origin": "db7", **over}
    assert run_module("db_backup", **options).outcomes == ["created"]


def test_another_hosts_backup_is_restored_from_a_shared_directory(tmp_path: Path) -> None:
    for host in ("old", "db7"):
        make_database(tmp_path / host / "shop.db", host)
        back_up(tmp_path / "b", tmp_path / host / "shop.db", origin=host)
    restores = [{"engine": "sqlite", "database": str(tmp_path / "new" / "shop.db")}]
    (tmp_path / "new").mkdir()
    variables = {"backup_directory": str(tmp_path / "b"), "backup_restores": restores}
    assert play(tmp_path, variables).returncode == 2  # ambiguous
    finished = play(tmp_path, {**variables, "backup_from_host": "old"})
    assert finished.returncode == 0, finished.stdout
    assert text_in(tmp_path / "new" / "shop.db") == "old"


def test_another_hosts_backup_is_restored_from_its_directory_on_the_server(tmp_path: Path, sftp: SftpServer) -> None:
    make_database(tmp_path / "shop.db", "of old")
    back_up(tmp_path / "there" / "old", tmp_path / "shop.db", origin="by another name")
    variables = {
        "backup_read_from": "sftp",
        "backup_sftp": sftp.options(tmp_path / "there"),
        "backup_from_host": "old",
        "backup_restores": [{"engine": "sqlite", "database": str(tmp_path / "new.db"), "source_database": "shop.db"}],
    }
    finished = play(tmp_path, variables)
    assert finished.returncode == 0, finished.stdout
    assert text_in(tmp_path / "new.db") == "of old"


def test_all_restores_every_database_of_the_sources_and_leaves_what_exists(tmp_path: Path) -> None:
    names = ("shop.db", "notes.db", "kept.db")
    for name in names:
        make_database(tmp_path / name, f"backup of {name}")
        back_up(tmp_path / "b", tmp_path / name)
    for name in names[:2]:
        (tmp_path / name).unlink()
    with contextlib.closing(sqlite3.connect(tmp_path / "kept.db")) as connection:
        connection.execute("UPDATE note SET text = 'newer'")
        connection.commit()
    sources = [{"engine": "sqlite", "databases": [str(tmp_path / name) for name in names]}]
    variables = {"backup_directory": str(tmp_path / "b"), "backup_restores": "all", "backup_sources": sources}
    predicted = play(tmp_path, variables, "--check")
    assert predicted.returncode == 0 and not (tmp_path / "shop.db").exists(), predicted.stdout
    assert rows(predicted) == [["kept.db", "exists"], ["notes.db", "would restore"], ["shop.db", "would restore"]]
    finished = play(tmp_path, variables)
    assert finished.returncode == 0, finished.stdout
    assert rows(finished) == [["kept.db", "exists"], ["notes.db", "restored"], ["shop.db", "restored"]]
    assert [text_in(tmp_path / name) for name in names] == ["backup of shop.db", "backup of notes.db", "newer"]
    replacing = {"backup_restore_defaults": {"if_exists": "replace", "keep_old": True, "terminate_sessions": True}}
    finished = play(tmp_path, {**variables, **replacing})
    assert finished.returncode == 0, finished.stdout
    assert text_in(tmp_path / "kept.db") == "backup of kept.db"
    assert f"The old one is {tmp_path / 'kept.db'}" in finished.stdout


def test_all_goes_on_after_a_failure_and_names_what_is_not_restored(tmp_path: Path) -> None:
    names = ("bad.db", "none.db", "shop.db")
    for name in names:
        make_database(tmp_path / name, name)
        back_up(tmp_path / "b", tmp_path / name)
        (tmp_path / name).unlink()
    [bad] = (tmp_path / "b").glob("backup_bad.db_*.gz")
    bad.write_bytes(bad.read_bytes()[:-1] + b"?")  # of the same size
    [none] = (tmp_path / "b").glob("backup_none.db_*.gz")
    none.write_bytes(b"")
    sources = [{"engine": "sqlite", "databases": [str(tmp_path / name)]} for name in names]
    sources.append({"engine": "sqlite", "databases": ["/srv/app.db"], "directory": str(bad)})
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_restores": "all", "backup_sources": sources})
    assert finished.returncode == 2
    assert rows(finished) == [["none.db", "failed"], ["bad.db", "failed"], ["shop.db", "restored"]]
    assert text_in(tmp_path / "shop.db") == "shop.db"
    last = finished.stdout[finished.stdout.index("Fail where a restore failed") :]
    for name in (f"{tmp_path / 'none.db'}: There is no good backup", f"{tmp_path / 'bad.db'}: ", f"{bad}: "):
        assert name in last


def test_all_restores_no_backup_of_another_host_unless_asked(tmp_path: Path) -> None:
    for host in ("old", "db7"):
        make_database(tmp_path / "app.db", f"of {host}")
        back_up(tmp_path / "b", tmp_path / "app.db", origin=host)
        (tmp_path / "app.db").unlink()
    sources = [{"engine": "sqlite", "databases": [str(tmp_path / "app.db")]}]
    variables = {"backup_directory": str(tmp_path / "b"), "backup_restores": "all", "backup_sources": sources}
    assert play(tmp_path, {**variables, "backup_from_host": "other"}).returncode == 2
    for host in ("db7", "old"):
        finished = play(tmp_path, {**variables, **({} if host == "db7" else {"backup_from_host": host})})
        assert finished.returncode == 0, finished.stdout
        assert text_in(tmp_path / "app.db") == f"of {host}"
        (tmp_path / "app.db").unlink()


@pytest.fixture
def rebuilt(servers: Callable[[int], Server], tmp_path: Path) -> Iterator[tuple[dict[str, t.Any], list[Server]]]:
    """Back up two clusters and a file, and return the sources, and the empty clusters that took the old ones' places."""
    with contextlib.ExitStack() as stack:
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s-")))
        sockets.chmod(0o755)
        sources: list[dict[str, t.Any]] = []
        for number, old in enumerate((servers(VERSIONS[0]), servers(VERSIONS[-1]))):
            (sockets / str(number)).symlink_to(old.socket_directory)
            login = {"login_unix_socket": str(sockets / str(number)), "login_user": "postgres", "include_globals": True}
            old.psql(f"create role owner{number}")
            stack.callback(old.psql, f"drop role owner{number}")
            sql = f"create table t as select {number} as n; alter table t owner to owner{number}"
            stack.enter_context(database_on(old, "app", sql))
            sources.append({**login, "databases": ["app"]})
            options = {**sources[-1], "directory": str(tmp_path / "there" / "db7"), "bin_directory": str(old.bin_directory)}
            assert run_module("db_backup", origin="db7", **options).outcomes == ["created"] * 2
        make_database(tmp_path / "app.db", "of the file")
        back_up(tmp_path / "there" / "db7", tmp_path / "app.db")
        new = [stack.enter_context(Server.start(installation(VERSIONS[-1]))) for _source in sources]
        for number, server in enumerate(new):
            sources[number]["bin_directory"] = str(server.bin_directory)
            (sockets / str(number)).unlink()
            (sockets / str(number)).symlink_to(server.socket_directory)
        sources.append({"engine": "sqlite", "databases": [str(tmp_path / "app.db")]})
        yield {"backup_restores": "all", "backup_sources": sources}, new


def test_all_rebuilds_a_host_with_several_clusters_and_a_file(
    rebuilt: tuple[dict[str, t.Any], list[Server]], tmp_path: Path, sftp: SftpServer
) -> None:
    variables, new = rebuilt
    titles = ["app", "app", "app.db"]
    local = {"backup_directory": str(tmp_path / "there" / "db7")}
    for way in (local, {"backup_read_from": "sftp", "backup_sftp": sftp.options(tmp_path / "there")}):
        (tmp_path / "app.db").unlink()
        finished = play(tmp_path, {**variables, **way}, "--diff")
        assert finished.returncode == 0, finished.stdout
        assert rows(finished) == [[title, "restored"] for title in titles]
        assert finished.stdout.count("+backup_") == len(titles)
        for number, server in enumerate(new):
            owner = server.psql("select n || tableowner from t, pg_tables where tablename = 't'", "app")
            assert owner == f"{number}owner{number}"
            if way is local:
                server.psql(f"drop database app; drop role owner{number}")
        assert text_in(tmp_path / "app.db") == "of the file"
    again = play(tmp_path, {**variables, **local})
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
    assert rows(again) == [[title, "exists"] for title in titles]


def test_a_word_other_than_all_and_nothing_to_restore_are_errors(tmp_path: Path) -> None:
    sources = [{"engine": "sqlite", "databases": ["/none.db"]}]
    variables = {"backup_directory": str(tmp_path / "b"), "backup_sources": sources}
    for restores, words in (("everything", "backup_restores"), ("all", "There is no good backup of any database")):
        finished = play(tmp_path, {**variables, "backup_restores": restores})
        assert finished.returncode == 2
        assert words in finished.stdout

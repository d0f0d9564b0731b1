"""The role, run by ansible-playbook as a user runs it: packed, sent and unpacked."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import gzip
import json
import os
import sqlite3
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.encryption_keys import age_key
from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.postgresql import Site

PASSWORD = "c0rrect-horse"


def play(
    folder: Path, variables: dict[str, t.Any], *arguments: str, playbook: str = "lastgood.database.backup"
) -> subprocess.CompletedProcess[str]:
    """Run a playbook, the collection's own unless told otherwise, against this host."""
    file = folder / "variables.json"
    file.write_text(json.dumps({"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}))
    command = ["ansible-playbook", playbook, "--inventory", "db7,", "--extra-vars", f"@{file}"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)


def play_tasks(
    folder: Path, entry_point: str, variables: dict[str, t.Any], **keywords: t.Any
) -> subprocess.CompletedProcess[str]:
    """Run an entry point of the role against this host, in a play with further keywords."""
    role = {"name": "lastgood.database.backup", "tasks_from": entry_point}
    tasks = [{"name": "Do it", "ansible.builtin.include_role": role}]
    playbook = folder / "playbook.yml"
    playbook.write_text(json.dumps([{"hosts": "db7", "gather_facts": False, "tasks": tasks, **keywords}]))
    return play(folder, variables, playbook=str(playbook))


def recap(finished: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return Ansible's own counts."""
    line = next(line for line in finished.stdout.splitlines() if line.startswith("db7 "))
    return {name: int(count) for name, count in (word.split("=") for word in line.split(":")[1].split())}


def payloads(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("backup_*.dump*") if not path.name.endswith(".json"))


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """An SQLite database."""
    path = tmp_path / "notes.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.commit()
    return path


def source(path: Path, **options: t.Any) -> dict[str, t.Any]:
    return {"engine": "sqlite", "databases": [str(path)], **options}


def test_a_second_run_changes_nothing(tmp_path: Path, notes: Path) -> None:
    variables = {"backup_directory": str(tmp_path / "b"), "backup_interval": "0s", "backup_sources": [source(notes)]}
    first, second = play(tmp_path, variables), play(tmp_path, variables)
    assert (recap(first)["changed"], recap(second)["changed"]) == (1, 0), first.stdout + second.stdout
    assert len(payloads(tmp_path / "b")) == 1


def test_the_origin_is_the_hosts_name_in_the_inventory(tmp_path: Path, notes: Path) -> None:
    play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": [source(notes)]})
    [manifest] = (tmp_path / "b").glob("*.manifest.json")
    assert json.loads(manifest.read_text())["origin"] == "db7"


def test_backups_are_encrypted_and_other_recipients_make_another_one(tmp_path: Path, notes: Path) -> None:
    first, second = age_key(1), age_key(2)
    variables: dict[str, t.Any] = {"backup_directory": str(tmp_path / "b"), "backup_sources": [source(notes)]}
    for recipients, count in (([first.public], 1), ([first.public, second.public], 2)):
        variables["backup_encryption"] = {"encryption": "age", "recipients": recipients}
        finished = play(tmp_path, variables)
        assert finished.returncode == 0, finished.stdout
        assert len(payloads(tmp_path / "b")) == count
    [old, new] = [tmp_path / "b" / name for name in payloads(tmp_path / "b")]
    assert old.suffix == new.suffix == ".age"
    assert gzip.decompress(second.decrypt(new.read_bytes())) == gzip.decompress(first.decrypt(old.read_bytes()))


def test_check_mode_writes_nothing_and_says_what_it_would_do(tmp_path: Path, notes: Path) -> None:
    variables = {"backup_directory": str(tmp_path / "b"), "backup_sources": [source(notes)]}
    finished = play(tmp_path, variables, "--check", "--diff")
    assert recap(finished)["changed"] == 1
    assert "+a new backup of notes.db" in finished.stdout
    assert not (tmp_path / "b").exists()


def test_a_source_that_fails_lets_the_others_go_on_and_fails_the_host_at_the_end(tmp_path: Path, notes: Path) -> None:
    sources = [source(tmp_path / "missing.db"), source(notes, directory=str(tmp_path / "own")), source(tmp_path / "gone.db")]
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": sources})
    assert finished.returncode == 2
    assert recap(finished)["failed"] == 1
    assert len(payloads(tmp_path / "own")) == 1
    last = finished.stdout[finished.stdout.rindex("Fail where") :]
    assert f"sqlite in {tmp_path / 'b'}: " in last
    assert "missing.db" in last and "gone.db" in last
    assert "notes.db" not in last


def test_facts_that_cannot_be_gathered_do_not_hide_what_failed_before(tmp_path: Path, notes: Path) -> None:
    (tmp_path / "file").write_text("")
    sources = [source(notes, directory=str(tmp_path / "file")), source(tmp_path / "gone.db")]
    variables = {"backup_directory": str(tmp_path / "b"), "backup_sources": sources}
    defaults = {"lastgood.database.backup_facts": {"newest": 0}}
    finished = play_tasks(tmp_path, "main", variables, module_defaults=defaults)
    last = finished.stdout[finished.stdout.rindex("Fail where") :]
    assert finished.returncode == 2
    for part in (f"sqlite in {tmp_path / 'file'}: ", f"sqlite in {tmp_path / 'b'}: ", "gone.db", "facts: ", "is not a directory"):
        assert part in last


def test_a_cause_that_keeps_facts_from_being_gathered_too_is_reported_once(tmp_path: Path, notes: Path) -> None:
    (tmp_path / "file").write_text("")
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "file"), "backup_sources": [source(notes)]})
    last = finished.stdout[finished.stdout.rindex("Fail where") :]
    assert finished.returncode == 2
    assert last.count("is not a directory") == 1
    assert "facts: " not in last


def test_a_source_without_a_directory_is_told_before_anything_is_done(tmp_path: Path, notes: Path) -> None:
    finished = play(tmp_path, {"backup_sources": [source(notes, directory=str(tmp_path / "own")), source(notes)]})
    assert "Each source needs a directory" in finished.stdout
    assert not (tmp_path / "own").exists()


def test_null_takes_back_what_was_set_and_no_source_is_passed_over(tmp_path: Path, notes: Path) -> None:
    nothing = dict.fromkeys(("backup_retention", "backup_sftp", "backup_sftp_retention"))
    sources = [source(notes, retention=None), source(notes, directory=str(tmp_path / "own"))]
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": sources, **nothing})
    assert finished.returncode == 0, finished.stdout
    assert (len(payloads(tmp_path / "b")), len(payloads(tmp_path / "own"))) == (1, 1)


def test_nothing_to_back_up_is_an_error(tmp_path: Path) -> None:
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": []})
    assert finished.returncode == 2
    assert "There is nothing to back up: backup_sources is empty." in finished.stdout


def test_an_option_that_is_unknown_is_refused(tmp_path: Path, notes: Path) -> None:
    sources = [source(notes, compresion="gzip")]
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": sources})
    assert finished.returncode == 2
    assert "compresion" in finished.stdout
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("over", [{}, {"login_port": "no number"}], ids=["server down", "invalid option"])
def test_a_password_is_not_shown_however_much_is(tmp_path: Path, over: dict[str, t.Any]) -> None:
    down = {"login_unix_socket": str(tmp_path), "login_user": "backup", "login_password": PASSWORD, **over}
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": [down]}, "-vvv")
    assert finished.returncode == 2
    assert PASSWORD not in finished.stdout + finished.stderr


# --- Retention -------------------------------------------------------------------------------------------------


def change(path: Path) -> None:
    """Make the next backup one that is stored."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO note VALUES (datetime('subsec'))")
        connection.commit()


def make(folder: Path, notes: Path, count: int) -> None:
    """Make backups of the database and of a copy of it, without pruning."""
    other = folder / "other.db"
    for _number in range(count):
        change(notes)
        other.write_bytes(notes.read_bytes())
        options = {"engine": "sqlite", "directory": str(folder / "b"), "origin": "db7", "databases": [str(notes), str(other)]}
        assert run_module("db_backup", **options).outcomes == ["created", "created"]


def of(directory: Path, database: str) -> list[str]:
    return [name for name in payloads(directory) if name.startswith(f"backup_{database}_")]


def test_after_a_dump_the_retention_deletes_of_the_databases_that_did_not_fail(tmp_path: Path, notes: Path) -> None:
    make(tmp_path, notes, 3)
    (tmp_path / "other.db").write_bytes(b"no database" * 100)
    change(notes)
    variables = {
        "backup_directory": str(tmp_path / "b"),
        "backup_interval": "0s",
        "backup_retention": {"keep_last": 2},
        "backup_sources": [
            {"engine": "sqlite", "databases": [str(notes), str(tmp_path / "other.db")]},
            source(tmp_path / "gone.db"),
        ],
    }
    before = payloads(tmp_path / "b")
    predicted = play(tmp_path, variables, "--check", "--diff")
    assert "no rule keeps it" in predicted.stdout
    assert payloads(tmp_path / "b") == before

    finished = play(tmp_path, variables)
    assert finished.returncode == 2
    assert (len(of(tmp_path / "b", "notes.db")), len(of(tmp_path / "b", "other.db"))) == (2, 3), finished.stdout


def test_a_sources_own_retention_comes_first(tmp_path: Path, notes: Path) -> None:
    make(tmp_path, notes, 2)
    sources = [source(notes, retention={"keep_last": 1}), source(tmp_path / "other.db", retention={})]
    variables = {"backup_directory": str(tmp_path / "b"), "backup_retention": {"keep_last": 9}, "backup_sources": sources}
    finished = play(tmp_path, variables)
    assert finished.returncode == 0, finished.stdout
    assert (len(of(tmp_path / "b", "notes.db")), len(of(tmp_path / "b", "other.db"))) == (1, 2)


def test_single_databases_have_settings_of_their_own(tmp_path: Path, notes: Path) -> None:
    make(tmp_path, notes, 3)
    third = tmp_path / "third.db"
    third.write_bytes(notes.read_bytes())
    one = {
        "engine": "sqlite",
        "databases": [str(notes), str(tmp_path / "other.db"), str(third)],
        "retention": {"keep_last": 2},
        "per_database": {str(notes): {"retention": {"keep_last": 1}}, str(third): {"compression": "none"}},
    }
    variables = {"backup_directory": str(tmp_path / "b"), "backup_interval": "0s", "backup_sources": [one]}
    finished = play(tmp_path, variables)
    assert finished.returncode == 0, finished.stdout
    assert [len(of(tmp_path / "b", name)) for name in ("notes.db", "other.db", "third.db")] == [1, 2, 1]
    assert of(tmp_path / "b", "third.db")[0].endswith(".dump")
    assert recap(play(tmp_path, variables))["changed"] == 0


def test_labels_of_a_source_and_of_a_single_database_are_in_the_manifests(tmp_path: Path, notes: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(notes.read_bytes())
    one = {
        "engine": "sqlite",
        "databases": [str(notes), str(other)],
        "labels": {"app_version": "2.10"},
        "per_database": {str(other): {"labels": {"app_version": "{{ version }}", "none": None}}},
    }
    variables = {"backup_directory": str(tmp_path / "b"), "backup_interval": "0s", "backup_sources": [one], "version": "3.0"}
    finished = play(tmp_path, variables)
    assert finished.returncode == 0, finished.stdout
    manifests = (json.loads(path.read_text()) for path in (tmp_path / "b").glob("*.manifest.json"))
    assert {one["database"]: one["labels"] for one in manifests} == {
        "notes.db": {"app_version": "2.10"},
        "other.db": {"app_version": "3.0"},
    }
    assert recap(play(tmp_path, {**variables, "version": "3.1"}))["changed"] == 0


def test_a_run_that_fails_in_part_prunes_no_whole_backups_in_favour_of_partial_ones(tmp_path: Path, site: Site) -> None:
    server = site.server
    options = {"login_unix_socket": str(server.socket_directory), "login_port": server.port, "login_user": server.user}
    options |= {"bin_directory": str(server.bin_directory), "databases": [site.database, "no such"], "skip_unchanged": False}
    variables = {
        "backup_directory": str(site.directory),
        "backup_interval": "0s",
        "backup_retention": {"keep_last": 1},
        "backup_sources": [options],
    }
    for _number in range(2):
        whole = run_module("db_backup", directory=str(site.directory), origin="db7", **options)
        assert whole.outcomes == ["created", "failed"]
    assert len(payloads(site.directory)) == 2
    for _number in range(2):
        partial = {**options, "extra_args": ["--exclude-table-data=t"]}
        play(tmp_path, {**variables, "backup_sources": [partial]})
    manifests = [json.loads(path.read_text()) for path in site.directory.glob("*.manifest.json")]
    assert sorted(manifest["partial"] for manifest in manifests) == [False, False, True]


def test_settings_of_a_single_database_are_validated(tmp_path: Path, notes: Path) -> None:
    for settings in ({"retention": {"keep_lst": 1}}, {"format": "tar"}, {"compresion": "none"}):
        sources = [source(notes, per_database={str(notes): settings})]
        finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": sources})
        assert finished.returncode == 2
        assert next(iter(settings)) in finished.stdout
    assert not (tmp_path / "b").exists()


def test_a_cluster_is_backed_up_whole_though_one_of_its_databases_has_settings_of_its_own(tmp_path: Path, site: Site) -> None:
    server = site.server
    server.psql('create database "odd*name"')
    options = {"login_unix_socket": str(server.socket_directory), "login_port": server.port, "login_user": server.user}
    options |= {"bin_directory": str(server.bin_directory), "per_database": {"odd*name": {"format": "plain"}}}
    try:
        finished = play(tmp_path, {"backup_directory": str(site.directory), "backup_sources": [options]})
    finally:
        server.psql('drop database "odd*name"')
    assert finished.returncode == 0, finished.stdout
    manifests = [json.loads(path.read_text()) for path in site.directory.glob("*.manifest.json")]
    formats = {one["database"] or one["kind"]: one["format"] for one in manifests}
    assert formats["odd*name"] == "plain" and formats[site.database] == "custom" and "globals" in formats
    assert len(manifests) == len(formats)


def test_a_source_does_not_prune_another_ones_namesakes_in_a_shared_directory(tmp_path: Path, notes: Path) -> None:
    namesake = tmp_path / "elsewhere" / notes.name
    namesake.parent.mkdir()
    for _number in range(3):
        for path in (notes, namesake):
            change(notes)
            namesake.write_bytes(notes.read_bytes())
            options = {"engine": "sqlite", "directory": str(tmp_path / "b"), "origin": "db7", "databases": [str(path)]}
            assert run_module("db_backup", **options).outcomes == ["created"]
    change(notes)
    sources = [source(notes, retention={"keep_last": 1}), source(namesake, retention={"keep_last": 9})]
    variables = {"backup_directory": str(tmp_path / "b"), "backup_interval": "0s", "backup_sources": sources}
    finished = play(tmp_path, variables)
    assert finished.returncode == 0, finished.stdout
    manifests = [json.loads(path.read_text()) for path in (tmp_path / "b").glob("*.manifest.json")]
    assert sorted(manifest["instance"] for manifest in manifests) == sorted([str(notes), *[str(namesake)] * 3])


def test_a_retention_that_fails_is_told_at_the_end_and_the_facts_are_gathered(tmp_path: Path, notes: Path) -> None:
    retention = {"keep_daily": 7, "timezone": "Atlantis"}
    variables = {"backup_directory": str(tmp_path / "b"), "backup_retention": retention, "backup_sources": [source(notes)]}
    finished = play(tmp_path, variables)
    assert finished.returncode == 2
    last = finished.stdout[finished.stdout.rindex("Fail where") :]
    assert f"sqlite in {tmp_path / 'b'}, retention" in last and "Atlantis" in last
    assert "Gather facts about the backups" in finished.stdout


def test_a_clusters_globals_are_pruned_with_the_databases(tmp_path: Path, site: Site) -> None:
    server = site.server
    login = {"login_unix_socket": str(server.socket_directory), "login_port": server.port, "login_user": server.user}
    login["bin_directory"] = str(server.bin_directory)
    options = {**login, "databases": [site.database], "include_globals": True, "skip_unchanged": False}
    variables = {
        "backup_directory": str(site.directory),
        "backup_interval": "0s",
        "backup_retention": {"keep_last": 1},
        "backup_sources": [options],
    }
    assert run_module("db_backup", directory=str(site.directory), origin="db7", **options).outcomes == ["created"] * 2
    finished = play(tmp_path, variables)
    assert finished.returncode == 0, finished.stdout
    assert len(of(site.directory, "@globals")) == 1
    assert len(payloads(site.directory)) == 2


@pytest.mark.parametrize("password", ["sql", "postgres", "globals"])
def test_a_password_that_looks_like_a_part_of_a_group_keeps_no_backups(tmp_path: Path, site: Site, password: str) -> None:
    server = site.server
    options = {"login_unix_socket": str(server.socket_directory), "login_port": server.port, "login_user": server.user}
    options |= {"bin_directory": str(server.bin_directory), "databases": [site.database], "login_password": password}
    options["skip_unchanged"] = False
    variables = {
        "backup_directory": str(site.directory),
        "backup_interval": "0s",
        "backup_retention": {"keep_last": 1},
        "backup_sources": [options],
    }
    assert run_module("db_backup", directory=str(site.directory), origin="db7", **options).outcomes == ["created"]
    finished = play(tmp_path, variables)
    assert finished.returncode == 0, finished.stdout
    assert len(payloads(site.directory)) == 1


def test_pruning_alone_makes_room_where_no_dump_succeeds(tmp_path: Path, notes: Path) -> None:
    make(tmp_path, notes, 2)
    notes.unlink()
    sources = [source(notes), source(tmp_path / "other.db"), source(notes, directory=str(tmp_path / "none"), retention={})]
    variables = {"backup_directory": str(tmp_path / "b"), "backup_retention": {"keep_last": 1}, "backup_sources": sources}
    finished = play_tasks(tmp_path, "prune", variables)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert (len(of(tmp_path / "b", "notes.db")), len(of(tmp_path / "b", "other.db"))) == (1, 1)
    assert recap(finished)["changed"] == 1
    assert recap(play_tasks(tmp_path, "prune", variables))["changed"] == 0


def test_pruning_alone_refuses_two_retentions_for_one_directory(tmp_path: Path, notes: Path) -> None:
    make(tmp_path, notes, 2)
    sources = [source(notes, retention={"keep_last": 1}), source(tmp_path / "other.db")]
    variables = {"backup_directory": str(tmp_path / "b"), "backup_retention": {"keep_last": 9}, "backup_sources": sources}
    finished = play_tasks(tmp_path, "prune", variables)
    assert finished.returncode == 2
    assert f"The sources that share {tmp_path / 'b'} keep different backups" in finished.stdout
    assert len(payloads(tmp_path / "b")) == 4

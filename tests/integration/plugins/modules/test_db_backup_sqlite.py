"""db_backup of real SQLite files: the module as a process, beside applications that write."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Target
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite import dump as sqlite
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite import owner as owner_rights
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import DatabaseFile
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import SqliteDumpOptions
from ansible_collections.lastgood.database.plugins.module_utils._errors import Interrupted, NotOwner, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import PAYLOAD_DIFFERS
from ansible_collections.lastgood.database.tests.support.interpreters import (
    UNPRIVILEGED,
    make_host_of_another_python,
    other_pythons,
)
from ansible_collections.lastgood.database.tests.support.modules import (
    OURSELVES,
    Host,
    ModuleProcess,
    Outcome,
    run_module,
    running_module,
)
from ansible_collections.lastgood.database.tests.support.observe import (
    assert_whole,
    contents,
    leftovers,
    manifest,
    payload,
    payloads,
    rewrite_manifest,
    state_of,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.places import only_root
from ansible_collections.lastgood.database.tests.support.sqlite import plant_journal

LONG_AGO = "2026-01-01T00:00:00Z"
AS_ROOT = os.geteuid() == 0
OTHER_PYTHONS = other_pythons()


class Application(NamedTuple):
    """An SQLite database, and the directory where its backups go."""

    path: Path
    directory: Path

    def options(self, **over: Any) -> dict[str, Any]:
        return {"engine": "sqlite", "directory": str(self.directory), "databases": [str(self.path)], **over}

    def back_up(self, *, host: Host = OURSELVES, check: bool = False, diff: bool = False, **over: Any) -> Outcome:
        return run_module("db_backup", host=host, check=check, diff=diff, **self.options(**over))

    def backing_up(self, **over: Any) -> contextlib.AbstractContextManager[ModuleProcess]:
        return running_module("db_backup", **self.options(**over))

    @contextlib.contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Connect as the application does; it begins and ends its transactions itself."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            yield connection

    def sql(self, text: str) -> None:
        with self.open() as connection:
            connection.executescript(text)


@pytest.fixture
def app(tmp_path: Path) -> Application:
    return make_application(tmp_path)


def make_application(folder: Path, *, journal_mode: str = "delete", name: str = "app.db") -> Application:
    (folder / "data").mkdir(exist_ok=True)
    one = Application(folder / "data" / name, folder / "backups")
    one.sql(f"pragma journal_mode={journal_mode}; create table t (n, body); insert into t values (1, 'caf\u00e9'), (2, x'00ff')")
    return one


DUMP = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
print(*connection.iterdump(), sep="\\n")
"""


def text_of(path: Path) -> str:
    """All that is in a database file, which must be sound.

    Read by a process of its own: SQLite's heap limit, which an examination sets, holds for a whole process.
    """
    command = (sys.executable, "-I", "-c", DUMP, str(path))
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def make_copy(engine: sqlite.SqliteDumper, target: Target, copy: Path) -> None:
    """Have the engine copy a database to a path, where there is nothing yet."""
    with copy.open("xb"), contextlib.ExitStack() as stack:
        stack.enter_context(engine.dumping(target, lambda: str(copy)))


def unpack(source: Path, target: Path) -> Path:
    """Unpack a payload as an operator without this collection would."""
    program = {".gz": "zcat", ".zst": "zstd -dc"}.get(source.suffix, "cat")
    subprocess.run(("/bin/sh", "-euc", f'{program} "$1" >"$2"', "sh", source, target), check=True)
    return target


# --- A backup, and no second one without need ----------------------------------------------------


@pytest.mark.parametrize(
    "journal_mode, compression, ending",
    [
        ("delete", "gzip", ".dump.gz"),
        ("wal", "gzip", ".dump.gz"),
        ("wal", "zstd", ".dump.zst"),
        ("delete", "none", ".dump"),
    ],
)
def test_beside_an_open_writer_only_changes_are_stored(tmp_path: Path, journal_mode: str, compression: str, ending: str) -> None:
    app = make_application(tmp_path, journal_mode=journal_mode)
    before = text_of(app.path)
    with app.open() as writer:
        writer.execute("begin immediate")
        writer.execute("insert into t values (3, 'not yet')")

        assert app.back_up(compression=compression).outcomes == ["created"]
        one = payload(app.directory)
        assert one.name.startswith("backup_app.db_") and one.name.endswith(ending)
        assert text_of(unpack(one, tmp_path / "restored.db")) == before
        rewrite_manifest(one, confirmed_at=LONG_AGO)
        said, facts, stored = manifest(one), one.stat(), one.read_bytes()

        second = app.back_up(compression=compression)
        assert (second.changed, second.outcomes) == (False, ["unchanged"])
        assert payload(app.directory) == one
        assert (one.stat().st_ino, one.stat().st_mtime_ns, one.read_bytes()) == (facts.st_ino, facts.st_mtime_ns, stored)
        renewed = manifest(one)
        assert renewed.pop("confirmed_at") >= said["created_at"] > said.pop("confirmed_at")
        assert renewed == said

        writer.execute("commit")
        earlier = contents(app.directory)
        assert app.back_up(compression=compression).outcomes == ["created"]
        assert app.back_up(compression=compression).outcomes == ["unchanged"]
    assert len(payloads(app.directory)) == 2
    # Of the first, all is as it was; the second was confirmed.
    assert earlier.items() <= contents(app.directory).items()
    [two] = [path for path in payloads(app.directory) if path != one]
    assert "not yet" in text_of(unpack(two, tmp_path / "restored.db"))
    assert_whole(app.directory)


def test_a_restored_backup_can_be_written_to(tmp_path: Path) -> None:
    app = make_application(tmp_path, journal_mode="wal")
    app.back_up()
    restored = app._replace(path=unpack(payload(app.directory), tmp_path / "restored.db"))
    restored.sql("insert into t values (3, 'more'); vacuum")
    assert "more" in text_of(restored.path)


def test_the_record_says_which_file_it_is(app: Application) -> None:
    [record] = app.back_up(origin="web1").backups
    expected = {
        "kind": "database",
        "origin": "web1",
        "engine": "sqlite",
        "instance": str(app.path.resolve()),
        "database": "app.db",
        "format": "custom",
        "state": "good",
    }
    assert {key: record[key] for key in expected} == expected


def test_a_large_database_comes_back_whole(app: Application, tmp_path: Path) -> None:
    app.sql("create table noise (raw); insert into noise select randomblob(1000000) from (values (1), (2), (3), (4), (5))")
    assert app.back_up().outcomes == ["created"]
    assert text_of(unpack(payload(app.directory), tmp_path / "restored.db")) == text_of(app.path)
    assert app.back_up().outcomes == ["unchanged"]


def test_an_empty_file_is_an_empty_database(app: Application, tmp_path: Path) -> None:
    app.path.write_bytes(b"")
    assert app.back_up().outcomes == ["created"]
    assert app.back_up().outcomes == ["unchanged"]
    assert text_of(unpack(payload(app.directory), tmp_path / "restored.db")) == text_of(app.path)
    assert app.path.read_bytes() == b""


def test_a_rotten_payload_is_noticed_though_the_data_has_not_changed(app: Application) -> None:
    app.back_up()
    old = payload(app.directory)
    data = bytearray(old.read_bytes())
    data[-1] ^= 1
    old.write_bytes(data)
    outcome = app.back_up()
    assert outcome.outcomes == ["created"]
    assert any(old.name in warning for warning in outcome.warnings)
    facts = run_module("backup_facts", directory=str(app.directory)).result["ansible_facts"]["database_backups"]
    assert {one["filename"]: one["state"] for one in facts["files"]} == {
        old.name: "corrupt",
        outcome.backups[0]["filename"]: "good",
    }
    assert manifest(old)["verification"]["detail"] == PAYLOAD_DIFFERS


# --- Which files ----------------------------------------------------------------------------------


def test_files_of_one_name_in_two_folders_never_stand_for_each_other(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    apps = []
    for name in ("blue", "green"):
        (tmp_path / name).mkdir()
        apps.append(make_application(tmp_path / name)._replace(directory=directory))
    shutil.copy(apps[0].path, apps[1].path)
    databases = [str(app.path) for app in apps]
    assert apps[0].back_up(databases=databases).outcomes == ["created", "created"]
    assert apps[0].back_up(databases=databases).outcomes == ["unchanged", "unchanged"]
    apps[1].sql("insert into t values (3, 'green')")
    assert apps[0].back_up(databases=databases, parallel_databases=2).outcomes == ["unchanged", "created"]
    assert len(payloads(directory)) == 3
    assert_whole(directory)


def test_one_that_fails_lets_the_others_go_on_and_fails_the_task(app: Application) -> None:
    missing, other = app.path.with_name("missing.db"), make_application(app.directory.parent, name="other.db")
    outcome = app.back_up(databases=[str(app.path), str(missing), str(other.path)])
    assert outcome.error_code == "database_missing"
    assert outcome.result["changed"] is True
    assert {one["database"]: one["outcome"] for one in outcome.backups} == {
        "app.db": "created",
        "missing.db": "failed",
        "other.db": "created",
    }
    assert len(payloads(app.directory)) == 2


def test_a_missing_file_is_an_error_and_is_not_made(app: Application) -> None:
    missing = app.path.with_name("missing.db")
    for check in (True, False):
        outcome = app.back_up(databases=[str(missing)], check=check)
        assert outcome.error_code == "database_missing"
        assert str(missing) in outcome.msg
    assert not missing.exists()


def test_patterns_are_held_against_the_whole_path(app: Application) -> None:
    other = make_application(app.directory.parent, name="cache.db")
    both = [str(app.path), str(other.path)]
    outcome = app.back_up(databases=both, exclude_databases=["*/cache.*", "app.db"])
    assert [one["database"] for one in outcome.backups] == ["app.db"]


def test_a_file_that_is_no_database_is_an_error(app: Application) -> None:
    app.path.write_text("Dear diary, " * 1000)
    outcome = app.back_up()
    assert outcome.error_code == "source_invalid"
    assert str(app.path) in outcome.msg
    assert payloads(app.directory) == []
    assert_whole(app.directory)


def test_a_database_that_is_cut_short_gives_no_backup_that_is_called_good(app: Application) -> None:
    app.sql("create table noise (raw); insert into noise values (randomblob(100000))")
    os.truncate(app.path, 4096 + 100)
    outcome = app.back_up()
    assert outcome.error_code == "source_invalid"
    assert payloads(app.directory) == []


def test_only_the_absolute_path_of_a_regular_file_is_taken(app: Application) -> None:
    fifo = app.path.with_name("pipe.db")
    os.mkfifo(fifo)
    for path in ("app.db", str(app.path.parent), str(fifo), ""):
        assert app.back_up(databases=[path]).error_code == "source_invalid", path
    assert app.back_up(databases=[]).error_code == "argument_invalid"


HOSTILE_NAMES = [
    "two words.db",
    "what?.db",
    "#.db",
    "50%.db",
    "%41",
    "?mode=memory",
    "a&mode=memory&cache=shared",
    ":memory:",
    "file:x",
    "new\nline.db",
    "\u00e9\u4e16\u754c.db",
    "'; drop table t; --",
    '"$(touch x)"',
    "-readonly",
    ".hidden",
    "back\\slash",
    "backup_app_2026-01-01_00-00-00.dump.gz",
    "l" * 200,
]


def test_names_are_data_and_nothing_else(tmp_path: Path) -> None:
    apps = {name: make_application(tmp_path, name=name) for name in HOSTILE_NAMES}
    for number, app in enumerate(apps.values()):
        app.sql(f"insert into t values ({number}, 'number')")
    before = {str(path) for path in (tmp_path / "data").iterdir()}
    databases = [str(app.path) for app in apps.values()]
    outcome = next(iter(apps.values())).back_up(databases=databases, compression="none")
    assert outcome.outcomes == ["created"] * len(HOSTILE_NAMES)
    for name, record in zip(HOSTILE_NAMES, outcome.backups, strict=True):
        assert record["database"] == name.replace("\n", "\\x0a")
        assert Path(record["path"]).parent == tmp_path / "backups"
        assert text_of(Path(record["path"])) == text_of(apps[name].path), name
    assert {str(path) for path in (tmp_path / "data").iterdir()} == before
    assert_whole(tmp_path / "backups")
    assert set(apps[HOSTILE_NAMES[0]].back_up(databases=databases, compression="none").outcomes) == {"unchanged"}


def test_a_name_that_is_no_utf_8_is_taken_as_it_is(app: Application, tmp_path: Path) -> None:
    odd = os.path.join(os.fsencode(app.path.parent), b"caf\xe9.db")
    shutil.copy(os.fsencode(app.path), odd)
    outcome = app.back_up(databases=[os.fsdecode(odd)])
    assert outcome.outcomes == ["created"]
    assert outcome.backups[0]["database"] == "caf\\udce9.db"  # Ansible would refuse a result with the byte itself
    assert payload(app.directory).name.isascii()
    assert text_of(unpack(payload(app.directory), tmp_path / "restored.db")) == text_of(app.path)


# --- Check mode, interval -------------------------------------------------------------------------


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_check_mode_touches_nothing(tmp_path: Path, journal_mode: str) -> None:
    app = make_application(tmp_path, journal_mode=journal_mode)
    before = state_of(tmp_path)
    first = app.back_up(check=True, diff=True)
    assert (first.changed, first.outcomes) == (True, ["created"])
    assert "app.db" in first.result["diff"]["after"]
    assert state_of(tmp_path) == before

    app.back_up()
    before = state_of(tmp_path)
    assert app.back_up(check=True).changed is True
    assert app.back_up(check=True, interval="1h").changed is False
    assert state_of(tmp_path) == before


def test_a_backup_that_is_fresh_enough_stays_as_it_is(app: Application) -> None:
    app.back_up()
    before = contents(app.directory)
    fresh = app.back_up(interval="1h")
    assert (fresh.changed, fresh.outcomes, contents(app.directory)) == (False, ["fresh"], before)


# --- Locks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock_timeout", ["0s", "1s"])
def test_a_database_that_stays_locked_is_an_error(app: Application, lock_timeout: str) -> None:
    with app.open() as writer:
        writer.execute("begin exclusive")
        outcome = app.back_up(lock_timeout=lock_timeout)
    assert outcome.error_code == "source_busy"
    assert "lock_timeout" in outcome.msg
    assert payloads(app.directory) == []
    assert_whole(app.directory)


def copy_of(app: Application) -> list[str]:
    return [name for name in leftovers(app.directory) if ".copy." in name] if app.directory.exists() else []


def test_a_lock_that_is_let_go_in_time_is_waited_for(app: Application) -> None:
    with app.open() as writer:
        writer.execute("begin exclusive")
        with app.backing_up() as process:
            wait_until(lambda: bool(copy_of(app)) or process.ended)
            assert not process.ended
            writer.execute("commit")
            assert process.wait().outcomes == ["created"]


def test_a_run_that_waits_for_a_lock_can_be_told_to_stop(app: Application) -> None:
    with app.open() as writer:
        writer.execute("begin exclusive")
        with app.backing_up(lock_timeout="1w") as process:
            wait_until(lambda: bool(copy_of(app)) or process.ended)
            process.send_signal(signal.SIGTERM)
            assert process.wait().error_code == "interrupted"
    assert contents(app.directory) == {}


def test_a_run_that_is_killed_leaves_only_partials_that_the_next_run_sweeps(app: Application) -> None:
    app.back_up()
    earlier = contents(app.directory)
    with app.open() as writer:
        writer.execute("insert into t values (3, 'three')")
        writer.execute("begin exclusive")
        with app.backing_up() as process:
            wait_until(lambda: bool(copy_of(app)) or process.ended)
            left = leftovers(app.directory)
            process.kill()
    assert len(left) == 2
    assert {name: digest for name, digest in contents(app.directory).items() if name not in left} == earlier
    outcome = app.back_up()
    assert outcome.outcomes == ["created"]
    assert all(any(name in warning for warning in outcome.warnings) for name in left)
    assert earlier.items() <= contents(app.directory).items()
    assert_whole(app.directory)


# --- What a crash of the application left, and whose files they are -------------------------------

# An application that fills its cache, so that half a transaction is in the file, and dies.
CRASH = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("pragma cache_size = 5")
if sys.argv[2] == "committed":
    connection.execute("begin")
    connection.execute("insert into t values (3, 'committed')")
    connection.execute("commit")
connection.execute("begin")
connection.execute("update t set body = 'lost'")
connection.execute("insert into t select value, randomblob(2000) from (with recursive c(value) as"
                   " (values (10) union all select value + 1 from c where value < 500) select value from c)")
os._exit(0)
"""


def test_half_a_transaction_that_a_crash_left_is_not_backed_up(app: Application, tmp_path: Path) -> None:
    before = text_of(app.path)
    subprocess.run((sys.executable, "-c", CRASH, app.path, ""), check=True)
    assert app.path.with_name("app.db-journal").stat().st_size > 0
    assert app.back_up().outcomes == ["created"]
    assert text_of(unpack(payload(app.directory), tmp_path / "restored.db")) == before
    assert text_of(app.path) == before


def test_what_a_crash_left_in_the_write_ahead_log_is_backed_up(tmp_path: Path) -> None:
    app = make_application(tmp_path, journal_mode="wal")
    subprocess.run((sys.executable, "-c", CRASH, app.path, "committed"), check=True)
    assert app.path.with_name("app.db-wal").stat().st_size > 0
    assert app.back_up().outcomes == ["created"]
    text = text_of(unpack(payload(app.directory), tmp_path / "restored.db"))
    assert "committed" in text
    assert "lost" not in text


WRITE = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(\"insert into t values (9, 'mine')\"); c.commit()"


def as_owner(host: Host, code: str, *arguments: str | Path) -> None:
    """Run Python code as the user without privileges."""
    subprocess.run(
        (host.python, "-c", code, *arguments),
        env=host.environ(),
        cwd="/",
        user=host.uid,
        group=host.uid,
        extra_groups=None if host.uid is None else [],
        check=True,
    )


def give(app: Application, host: Host) -> None:
    if host.uid is not None:
        for path in (app.path.parent, *app.path.parent.iterdir()):
            os.chown(path, host.uid, host.uid)


@pytest.mark.parametrize("crashed", [False, True], ids=["ended", "crashed"])
def test_a_run_as_root_leaves_a_database_in_wal_mode_to_its_owner(open_folder: Path, unprivileged: Host, crashed: bool) -> None:
    app = make_application(open_folder, journal_mode="wal")
    give(app, unprivileged)
    if crashed:
        as_owner(unprivileged, CRASH, app.path, "committed")
        assert app.path.with_name("app.db-wal").exists()
    assert app.back_up().outcomes == ["created"]
    assert [path.name for path in app.path.parent.iterdir()] == ["app.db"]
    assert app.path.stat().st_uid == (UNPRIVILEGED if AS_ROOT else os.geteuid())
    as_owner(unprivileged, WRITE, app.path)
    assert "mine" in text_of(app.path)


# Opens the database, says so, writes when it is told to.
SERVE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("select * from t").fetchall()
print("open", flush=True)
sys.stdin.readline()
connection.execute("insert into t values (9, 'mine')")
print("written", flush=True)
"""


def test_an_application_that_runs_goes_on_writing_after_a_run_as_root(open_folder: Path, unprivileged: Host) -> None:
    app = make_application(open_folder, journal_mode="wal")
    give(app, unprivileged)
    with subprocess.Popen(
        (unprivileged.python, "-c", SERVE, app.path),
        env=unprivileged.environ(),
        cwd="/",
        user=unprivileged.uid,
        group=unprivileged.uid,
        extra_groups=None if unprivileged.uid is None else [],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert app.back_up().outcomes == ["created"]
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "written\n"
        assert app.back_up().outcomes == ["created"]
    assert {path.stat().st_uid for path in app.path.parent.iterdir()} == {UNPRIVILEGED if AS_ROOT else os.geteuid()}


def test_the_owner_backs_up_his_own_without_privileges(open_folder: Path, unprivileged: Host) -> None:
    app = make_application(open_folder, journal_mode="wal")
    give(app, unprivileged)
    assert app.back_up(host=unprivileged).outcomes == ["created"]
    assert app.back_up(host=unprivileged).outcomes == ["unchanged"]
    assert [path.name for path in app.path.parent.iterdir()] == ["app.db"]


def test_a_stranger_is_turned_away_before_he_touches_anything(open_folder: Path, unprivileged: Host) -> None:
    if AS_ROOT:
        app = make_application(open_folder, journal_mode="wal")
        app.path.chmod(0o666)
        app.path.parent.chmod(0o777)
    else:
        app = Application(Path("/etc/passwd"), open_folder / "backups")  # somebody else's, and no more is asked of it
    before = state_of(app.path.parent) if AS_ROOT else None
    outcome = app.back_up(host=unprivileged)
    assert outcome.error_code == "not_owner"
    assert "become_user" in outcome.msg
    assert before is None or state_of(app.path.parent) == before


@only_root
@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_journal_that_was_planted_makes_root_remove_nothing(tmp_path: Path, open_folder: Path, journal_mode: str) -> None:
    app = make_application(open_folder, journal_mode=journal_mode)
    give(app, Host(uid=UNPRIVILEGED))
    victim = plant_journal(app.path, tmp_path / "victim")
    app.back_up()
    assert victim.exists()


@only_root
def test_a_root_that_may_become_nobody_else_is_told_so(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(groups: list[int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setgroups", refuse)
    with pytest.raises(NotOwner, match="become_user"):
        owner_rights.as_owner(open_folder.stat(), str(open_folder), lambda: None)


def test_files_of_one_name_do_not_wait_for_each_other(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    apps = []
    for name in ("blue", "green"):
        (tmp_path / name).mkdir()
        apps.append(make_application(tmp_path / name)._replace(directory=directory))
    databases = [str(app.path) for app in apps]
    with apps[0].open() as blue:
        blue.execute("begin exclusive")
        with apps[0].backing_up(databases=databases, parallel_databases=2) as run:
            wait_until(lambda: directory.exists() and len(payloads(directory)) == 1)
            assert manifest(payload(directory))["instance"] == databases[1]
            blue.execute("rollback")
            assert run.wait().outcomes == ["created", "created"]
    assert_whole(directory)


@only_root
def test_root_backs_up_a_user_s_database_in_the_folder_of_another(tmp_path: Path, open_folder: Path) -> None:
    app = make_application(open_folder)
    os.chown(app.path, UNPRIVILEGED - 1, UNPRIVILEGED - 1)
    assert app.back_up().outcomes == ["created"]


def test_databases_of_one_run_wait_for_each_other_also_where_no_other_run_is_waited_for(tmp_path: Path) -> None:
    paths = []
    for number in range(16):
        folder = tmp_path / f"app{number}"
        folder.mkdir()
        app = make_application(folder)
        paths.append(str(app.path.rename(folder / f"app{number}.db")))
    done = app.back_up(databases=paths, parallel_databases=8, lock_timeout="0s")
    assert done.outcomes == ["created"] * 16


@only_root
def test_root_backs_up_many_of_others_and_of_its_own_at_once(tmp_path: Path, open_folder: Path) -> None:
    paths = []
    for number in range(6):
        folder = (tmp_path if number % 2 else open_folder) / f"app{number}"
        folder.mkdir()
        app = make_application(folder, journal_mode="wal")
        if number % 2 == 0:
            os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
            give(app, Host(uid=UNPRIVILEGED))
        paths.append(str(app.path.rename(app.path.with_name(f"app{number}.db"))))
    directory = tmp_path / "together"
    done = app._replace(directory=directory).back_up(databases=paths, parallel_databases=4)
    assert done.outcomes == ["created"] * 6
    assert {path.stat().st_uid for path in directory.iterdir()} == {0}


@only_root
def test_root_s_database_in_a_folder_of_somebody_else_s_is_not_opened(tmp_path: Path, open_folder: Path) -> None:
    app = make_application(open_folder)
    victim = plant_journal(app.path, tmp_path / "victim")
    for mode in (0o755, 0o1777):
        app.path.parent.chmod(mode)
        os.chown(app.path.parent, 0 if mode == 0o1777 else UNPRIVILEGED, 0)
        outcome = app.back_up()
        assert outcome.error_code == "source_invalid"
        assert "somebody else may write" in outcome.msg
        assert victim.exists()


@only_root
def test_root_s_database_with_a_journal_that_others_write_is_not_opened(tmp_path: Path) -> None:
    app = make_application(tmp_path)
    victim = plant_journal(app.path, tmp_path / "victim")
    for path in (app.path, app.path.with_name("app.db-journal")):
        os.chown(path, 0, UNPRIVILEGED)
        path.chmod(0o660)
    outcome = app.back_up()
    assert outcome.error_code == "source_invalid"
    assert "app.db-journal" in outcome.msg
    assert victim.exists()


@only_root
@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_root_backs_up_what_lies_where_its_owner_may_not_look(tmp_path: Path, journal_mode: str) -> None:
    app = make_application(tmp_path, journal_mode=journal_mode)  # below a folder of root's alone, as a container's volume is
    give(app, Host(uid=UNPRIVILEGED))
    assert app.back_up().outcomes == ["created"]
    assert [path.name for path in app.path.parent.iterdir()] == ["app.db"]


@only_root
def test_a_database_whose_owner_may_not_write_beside_it_says_so(open_folder: Path) -> None:
    app = make_application(open_folder, journal_mode="wal")
    os.chown(app.path, UNPRIVILEGED, UNPRIVILEGED)  # and the folder is root's
    outcome = app.back_up()
    assert outcome.error_code == "source_invalid"
    assert "write to it where the database is in WAL mode" in outcome.msg


def test_a_link_to_a_database_is_followed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app, other = make_application(tmp_path), make_application(tmp_path, name="other.db")
    other.sql("insert into t values (3, 'another')")
    link = tmp_path / "link.db"
    link.symlink_to(app.path)
    real = sqlite.find_file

    def find_and_swap(path: str) -> DatabaseFile:
        file = real(path)
        link.unlink()
        link.symlink_to(other.path)
        return file

    engine = sqlite.SqliteDumper(SqliteDumpOptions((str(link),)), lambda: False)
    [target] = engine.survey().targets
    monkeypatch.setattr(sqlite, "find_file", find_and_swap)
    copy = tmp_path / "copy"
    make_copy(engine, target, copy)
    assert text_of(copy) == text_of(app.path)


# --- No room --------------------------------------------------------------------------------------


def test_a_disk_without_room_for_the_copy_is_told_before_it_is_made(app: Application, small_disk: Callable[[str], Path]) -> None:
    app = app._replace(directory=small_disk("size=1m"))
    app.back_up()
    earlier = contents(app.directory)
    app.sql("create table noise (raw); insert into noise values (randomblob(2000000))")
    outcome = app.back_up()
    assert outcome.error_code == "no_space"
    assert "needs about" in outcome.msg
    assert contents(app.directory) == earlier


@pytest.mark.parametrize("size", ["1m", "3m"], ids=["at the copy", "at the payload"])
def test_a_disk_that_fills_up_leaves_earlier_backups_and_nothing_else(
    tmp_path: Path, small_disk: Callable[[str], Path], size: str
) -> None:
    app = make_application(tmp_path, journal_mode="wal")._replace(directory=small_disk(f"size={size}"))
    app.back_up()
    earlier = contents(app.directory)
    with app.open() as writer:  # what it writes stays in the log, so that the file is small still
        writer.execute("pragma wal_autocheckpoint = 0")
        writer.execute("create table noise (raw)")
        writer.execute("insert into noise values (randomblob(2000000))")
        outcome = app.back_up()
    assert outcome.error_code == "no_space"
    assert contents(app.directory) == earlier
    assert_whole(app.directory)


def test_a_limit_on_the_size_of_files_spoils_nothing(app: Application) -> None:
    app.back_up()
    earlier = contents(app.directory)
    app.sql("create table noise (raw); insert into noise values (randomblob(2000000))")
    outcome = app.back_up(host=Host(largest_file=1 << 20))
    assert outcome.error_code == "store_failed"  # SQLite does not say more
    assert "ulimit -f" in outcome.msg
    assert contents(app.directory) == earlier
    assert_whole(app.directory)


# --- Other versions of Python ---------------------------------------------------------------------


@pytest.mark.parametrize("python", [path for _name, path in OTHER_PYTHONS], ids=[name for name, _path in OTHER_PYTHONS])
def test_it_works_on_hosts_with_another_python(tmp_path: Path, python: Path) -> None:
    (tmp_path / "imports").mkdir()
    host = make_host_of_another_python(python, tmp_path / "imports")
    app = make_application(tmp_path, journal_mode="wal")
    assert app.back_up(host=host).outcomes == ["created"]
    assert app.back_up(host=host).outcomes == ["unchanged"]
    assert app.back_up(host=host, interval="1h", check=True).changed is False
    app.sql("insert into t values (3, 'three')")
    assert app.back_up(host=host, compression="zstd").outcomes == ["created"]
    facts = run_module("backup_facts", host=host, directory=str(app.directory), checksum=True).result["ansible_facts"]
    assert [one["state"] for one in facts["database_backups"]["files"]] == ["good", "good"]
    assert text_of(unpack(payloads(app.directory)[-1], tmp_path / "restored.db")) == text_of(app.path)
    assert app.back_up(host=host, databases=["relative"]).error_code == "source_invalid"
    assert_whole(app.directory)


def test_a_copy_that_is_swapped_for_a_link_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, victim, copy = tmp_path / "app.db", tmp_path / "victim", tmp_path / "copy"
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE t (n)")
        connection.commit()
    victim.write_bytes(b"")
    look = sqlite._identity

    def look_and_swap(path: str) -> os.stat_result:
        identity = look(path)
        copy.unlink()
        copy.symlink_to(victim)
        return identity

    monkeypatch.setattr(sqlite, "_identity", look_and_swap)
    engine = sqlite.SqliteDumper(SqliteDumpOptions((str(source),)), lambda: False)
    [target] = engine.survey().targets
    with pytest.raises(StoreFailed, match="replaced by somebody else"):
        make_copy(engine, target, copy)
    assert victim.read_bytes() == b""


def test_a_copy_can_be_stopped_on_the_way(app: Application, tmp_path: Path) -> None:
    app.sql("create table noise (raw)" + "; insert into noise select zeroblob(10000000)" * 10)
    stops = iter([False])
    engine = sqlite.SqliteDumper(SqliteDumpOptions((str(app.path),)), lambda: next(stops, True))
    [target] = engine.survey().targets
    copy = tmp_path / "copy"
    with pytest.raises(Interrupted):
        make_copy(engine, target, copy)
    assert copy.stat().st_size < app.path.stat().st_size / 2


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_copy_is_of_one_moment_beside_a_busy_writer(tmp_path: Path, journal_mode: str) -> None:
    app = make_application(tmp_path, journal_mode=journal_mode)
    app.sql("create table noise (raw)" + "; insert into noise select randomblob(10000000)" * 5)
    before = text_of(app.path)

    def write() -> bool:
        with app.open() as connection, contextlib.suppress(sqlite3.OperationalError):  # locked, in rollback mode
            connection.execute("pragma busy_timeout=0")
            connection.execute("insert into noise values (zeroblob(100000))")
        return False

    engine = sqlite.SqliteDumper(SqliteDumpOptions((str(app.path),)), write)
    [target] = engine.survey().targets
    copy = tmp_path / "copy"
    make_copy(engine, target, copy)
    assert text_of(copy) == before
    assert (text_of(app.path) != before) == (journal_mode == "wal")

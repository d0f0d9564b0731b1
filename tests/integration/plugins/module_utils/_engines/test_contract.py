"""What every engine promises, over each engine: the operations rely on it, and a new engine has to pass it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest, new_hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.checking import Checker
from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Dumper, Target
from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import Examiner
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Login as MysqlLogin
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.options import (
    MysqlDumpOptions,
    MysqlExaminationOptions,
    MysqlRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import (
    PostgresqlDumpOptions,
    PostgresqlExaminationOptions,
    PostgresqlRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import ENGINES, AnyEngine
from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import Restorer, Swapped
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import (
    SqliteDumpOptions,
    SqliteRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, ContentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from tests.support.arguments import patch_module_args
from tools.throwaway_mysql import Server as MysqlServer
from tools.throwaway_postgresql import Server

SETUP = "create table note (line text); insert into note values ('first'), ('second');"
CHANGE = "insert into note values ('third');"
READ = "select line from note order by 1"


@dataclass(frozen=True)
class Case:
    """An engine with a database of two rows, and how to reach it without the engine."""

    folder: Path
    engine: AnyEngine
    dumper: Callable[..., Dumper]
    checker: Callable[..., Checker]
    restorer: Callable[[str], Restorer]
    examiner: Examiner
    database: str
    other: str
    sql: Callable[[str, str], str]
    names: Callable[[], list[str]]

    def target(self) -> Target:
        [target] = self.dumper(self.database).survey().targets
        return target

    def dump(self) -> tuple[bytes, Digest]:
        """Return the content of a dump, and its digest."""
        dumper = self.dumper(self.database)
        [target] = dumper.survey().targets
        digest, content, buffer = dumper.content_digest(target, new_hash()), bytearray(), memoryview(bytearray(65536))
        with self.copy_file() as make_copy_file, dumper.dumping(target, make_copy_file) as dump:
            while count := dump.readinto(buffer):
                content += buffer[:count]
                digest.update(buffer[:count])
            dump.finish()
        return bytes(content), digest.finish()

    @contextlib.contextmanager
    def copy_file(self) -> Iterator[Callable[[], str]]:
        """Give how to make the file for an engine's own copy. It stays open, as a pending payload's does."""
        path = self.folder / "copy"
        with path.open("xb"):
            yield lambda: str(path)
        path.unlink()

    def restore(self, name: str, content: bytes) -> Swapped:
        restorer = self.restorer(name)
        with restorer.restoring(self.manifest(content), now(), lambda: os.memfd_create("content")) as restoration:
            restoration.write(content)
            restoration.fill()
            return restoration.swap()

    def manifest(self, content: bytes) -> Manifest:
        target = self.target()
        return Manifest(
            kind="database",
            engine=target.engine,
            database=target.database,
            format=target.format,
            server_version=target.server_version,
            tool=target.tool,
            content_bytes=len(content),
        )


def sqlite_case(runner: ModuleRunner, folder: Path) -> Case:
    engine = ENGINES["sqlite"]

    def sql(script: str, database: str) -> str:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            if script == READ:
                return "\n".join(line for (line,) in connection.execute(script))
            connection.executescript(script)
            return ""

    return Case(
        folder,
        engine,
        lambda *paths: engine.dumper(SqliteDumpOptions(paths), runner),
        lambda *paths: engine.checker(SqliteDumpOptions(paths), runner),
        lambda path: engine.restorer(SqliteRestoreOptions(path), runner),
        engine.examiner(None, runner, now),
        str(folder / "app.db"),
        str(folder / "other.db"),
        sql,
        lambda: sorted(path.name for path in folder.iterdir() if path.name.startswith(("app", "other", "."))),
    )


def postgresql_case(runner: ModuleRunner, server: Server, folder: Path) -> Case:
    engine = ENGINES["postgresql"]
    login = Login(unix_socket=str(server.socket_directory), port=server.port, user=server.user)
    programs = str(server.bin_directory)
    return Case(
        folder,
        engine,
        lambda *names: engine.dumper(PostgresqlDumpOptions(login, names, bin_directory=programs), runner),
        lambda *names: engine.checker(PostgresqlDumpOptions(login, names, bin_directory=programs), runner),
        lambda name: engine.restorer(PostgresqlRestoreOptions(login, name, bin_directory=programs), runner),
        engine.examiner(PostgresqlExaminationOptions(programs, login), runner, now),
        "contract",
        "contract_other",
        server.psql,
        lambda: server.psql("select datname from pg_database order by 1").split("\n"),
    )


def mysql_case(runner: ModuleRunner, server: MysqlServer, folder: Path) -> Case:
    engine = ENGINES["mysql"]
    login = MysqlLogin(unix_socket=str(server.socket), user=server.user)
    return Case(
        folder,
        engine,
        lambda *names: engine.dumper(MysqlDumpOptions(login, names), runner),
        lambda *names: engine.checker(MysqlDumpOptions(login, names), runner),
        lambda name: engine.restorer(MysqlRestoreOptions(login, name), runner),
        engine.examiner(MysqlExaminationOptions(login=login), runner, now),
        "contract",
        "contract_other",
        server.sql,
        server.names,
    )


def now() -> datetime:
    return datetime.now(timezone.utc)


@pytest.fixture(params=ENGINES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with patch_module_args({}):
        runner = ModuleRunner(AnsibleModule(argument_spec={}))
    if request.param == "sqlite":
        case = sqlite_case(runner, tmp_path)
        case.sql(SETUP, case.database)
        yield case
        return
    if request.param == "mysql":
        mysql: MysqlServer = request.getfixturevalue("mariadb")
        case = mysql_case(runner, mysql, tmp_path)
        mysql.sql(f"create database {case.database}")
        case.sql(SETUP, case.database)
        yield case
        for name in (case.database, case.other):
            mysql.sql(f"drop database if exists {name}")
        return
    assert request.param == "postgresql", "an engine without a case"
    server: Server = request.getfixturevalue("server")
    case = postgresql_case(runner, server, tmp_path)
    server.create_database(case.database)
    case.sql(SETUP, case.database)
    yield case
    for name in (case.database, case.other):
        server.psql(f"drop database if exists {name} with (force)")


@pytest.fixture
def names(case: Case) -> Iterator[None]:
    """Expect that the test leaves no database, file or mark beside those that it names."""
    before = case.names()
    yield
    assert case.names() == before


def test_a_survey_describes_what_is_selected(case: Case) -> None:
    target = case.target()
    assert (target.engine, target.kind, target.partial) == (case.engine.name, "database", ())
    assert target.database == os.path.basename(case.database)
    assert target.instance and target.source and target.server_version and target.tool
    assert case.engine.content_digest(target.format, new_hash()) is not None


def test_a_database_that_does_not_exist_leaves_the_others_selected(case: Case) -> None:
    survey = case.dumper(case.other, case.database).survey()
    assert [target.database for target in survey.targets] == [os.path.basename(case.database)]
    [missing] = survey.unavailable
    assert missing.database == os.path.basename(case.other)
    assert isinstance(missing.error, BackupError)


def test_a_check_finds_what_a_survey_finds_and_leaves_everything_as_it_was(case: Case) -> None:
    before = case.names()
    checker = case.checker(case.other, case.database)
    found = [finding for _name, find in checker.checks() for finding in find()]
    assert [(one.severity, one.database) for one in found] == [("error", os.path.basename(case.other))]
    target = case.target()
    assert [(one.kind, one.database, one.instance) for one in checker.dumpable()] == [
        ("database", target.database, target.instance)
    ]
    assert checker.facts()["server_version"] == target.server_version
    assert case.names() == before


def test_a_dump_is_recognised_by_its_own_engine_alone(case: Case) -> None:
    content, _digest = case.dump()
    recognised = {name: engine.recognise(content[:4096]) for name, engine in ENGINES.items()}
    assert {name: form for name, form in recognised.items() if form is not None} == {case.engine.name: case.target().format}


@pytest.mark.usefixtures("names")
def test_the_digest_changes_with_the_data_and_not_with_the_time(case: Case) -> None:
    first, again = case.dump()[1], case.dump()[1]
    case.sql(CHANGE, case.database)
    assert first == again != case.dump()[1]


def test_the_face_makes_the_digest_that_the_dumper_makes(case: Case) -> None:
    content, expected = case.dump()
    digest = case.engine.content_digest(case.target().format, new_hash())
    assert digest is not None
    for start in range(0, len(content), 1000):
        digest.update(memoryview(content)[start : start + 1000])
    assert digest.finish() == expected


def test_another_content_has_no_digest(case: Case) -> None:
    digest = case.engine.content_digest(case.target().format, new_hash())
    assert digest is not None
    digest.update(memoryview(b"what no database has " * 100))
    with pytest.raises(ContentInvalid):
        digest.finish()


@pytest.mark.usefixtures("names")
def test_a_whole_content_passes_both_examinations(case: Case) -> None:
    content, _digest = case.dump()
    manifest = case.manifest(content)
    with case.examiner.reading_structure(manifest) as structure:
        structure.write(content)
        assert structure.finish().detail
    with case.examiner.restoring(manifest) as drill:
        drill.write(content)
        result = drill.finish()
    assert (result.tables, result.rows) == (1, 2)


@pytest.mark.usefixtures("names")
def test_a_content_that_was_cut_fails(case: Case) -> None:
    content, _digest = case.dump()
    with case.examiner.reading_structure(case.manifest(content)) as structure, pytest.raises(ContentInvalid):
        structure.write(content[: len(content) * 2 // 3])
        structure.finish()


def test_a_target_is_examined_before_a_restore(case: Case) -> None:
    content, _digest = case.dump()
    for name, exists in ((case.database, True), (case.other, False)):
        restorer = case.restorer(name)
        assert (restorer.name, restorer.database) == (case.engine.name, name)
        assert restorer.examine_target(case.manifest(content)).exists is exists


def test_a_restore_makes_a_database_with_the_content(case: Case) -> None:
    content, _digest = case.dump()
    swapped = case.restore(case.other, content)
    assert swapped.previous is None
    assert case.sql(READ, case.other) == "first\nsecond"


@pytest.mark.usefixtures("names")
def test_a_restore_replaces_the_old_database(case: Case) -> None:
    content, _digest = case.dump()
    case.sql(CHANGE, case.database)
    assert case.restore(case.database, content).previous is None
    assert case.sql(READ, case.database) == "first\nsecond"


@pytest.mark.usefixtures("names")
def test_until_the_swap_a_restore_changes_nothing_and_then_removes_its_own(case: Case) -> None:
    content, _digest = case.dump()
    case.sql(CHANGE, case.database)
    restoring = case.restorer(case.database).restoring(case.manifest(content), now(), lambda: os.memfd_create("content"))
    with contextlib.suppress(KeyboardInterrupt), restoring as restoration:
        restoration.write(content)
        restoration.fill()
        assert case.sql(READ, case.database) == "first\nsecond\nthird"
        raise KeyboardInterrupt
    assert case.sql(READ, case.database) == "first\nsecond\nthird"

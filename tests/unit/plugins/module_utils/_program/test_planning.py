"""Which modules a verb runs, and with what."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, BackupAmbiguous, BackupMissing
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call, Caller, Result
from ansible_collections.lastgood.database.plugins.module_utils._program.planning import calls_of
from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings
from ansible_collections.lastgood.database.plugins.module_utils._program.verbs import VERBS
from ansible_collections.lastgood.database.tests.support.specifications import program_documents

DOCUMENTS = program_documents()
SERVER = {"host": "backup.example.org", "user": "db7", "remote_directory": "/backups"}
SOURCES = [
    {"become_user": "postgres", "login_port": 5433, "bin_directory": "/pg/bin"},
    {"engine": "sqlite", "become_user": "shop", "directory": "/srv/backups", "databases": ["/srv/shop.db"]},
]
VARIABLES = {"backup_directory": "/b", "backup_sources": SOURCES, "backup_interval": "20h", "backup_shrink_warning": 50}


class Facts(Caller):
    """Answers with facts: which database has a good backup in which directory."""

    def __init__(self, **good: str) -> None:
        super().__init__("/usr/local/bin/lastgood")
        self.good = good

    def __call__(self, call: Call, *, check_mode: bool | None = None) -> Result:
        assert call.module == "backup_facts"
        databases = [
            {"newest_good": "x", "database": name, "engine": "postgresql"}
            for name, directory in self.good.items()
            if directory == call.options["directory"]
        ]
        return {"ansible_facts": {"database_backups": {"databases": databases}}}


def calls(verb: str, caller: Caller | None = None, variables: dict[str, Any] | None = None, **options: Any) -> list[Call]:
    settings = Settings("/etc/lastgood/settings.json", "db7", {**VARIABLES, **(variables or {})})
    return calls_of(VERBS[verb], options, lambda: settings, caller or Facts(), DOCUMENTS)


def no_settings() -> NoReturn:
    raise ArgumentInvalid("The settings /etc/lastgood/settings.yml do not exist.", "Write them.")


@pytest.mark.parametrize("place", [{"directory": "/x"}, {"sftp": SERVER}], ids=["directory", "sftp"])
@pytest.mark.parametrize("verb", ["list", "verify", "restore", "prune"])
def test_with_a_place_of_its_own_a_verb_needs_no_settings(verb: str, place: dict[str, Any]) -> None:
    [call] = calls_of(VERBS[verb], place, no_settings, Facts(), DOCUMENTS)
    assert call.user is None
    assert call.options.items() >= place.items()


def test_without_a_place_and_settings_it_says_what_to_give() -> None:
    with pytest.raises(ArgumentInvalid, match=r"list needs a place or settings.*--directory"):
        calls_of(VERBS["list"], {}, no_settings, Facts(), DOCUMENTS)


def test_a_verb_is_done_for_each_place_as_its_user() -> None:
    assert [(call.options["directory"], call.user) for call in calls("list")] == [("/b", "postgres"), ("/srv/backups", "shop")]


def test_a_drill_restores_the_newest_with_the_programs_of_its_source() -> None:
    first, second = calls("drill")
    assert first.options == {"directory": "/b", "bin_directory": "/pg/bin", "level": "restore", "newest": 1}
    assert "bin_directory" not in second.options


def test_a_drill_of_a_shared_directory_has_the_programs_that_one_of_its_engines_needs() -> None:
    sources = [{}, {"bin_directory": "/old/bin"}, {"engine": "mysql", "bin_directory": "/maria/bin"}]
    [call] = calls("drill", variables={"backup_sources": sources})
    assert call.options["bin_directory"] == "/maria/bin"


def test_a_verb_is_done_for_each_source_with_its_options() -> None:
    first, second = calls("backup", interval="0s")
    assert first.options == {
        "directory": "/b",
        "interval": "0s",
        "origin": "db7",
        "shrink_warning": 50,
        "login_port": 5433,
        "bin_directory": "/pg/bin",
    }
    assert second.options["databases"] == ["/srv/shop.db"]


def test_a_check_has_the_options_that_its_module_takes_and_the_server_once_for_each_user() -> None:
    first, second, third = calls("check", variables={"backup_sftp": SERVER, "backup_sources": [*SOURCES, SOURCES[0]]})
    assert "interval" not in first.options
    assert first.options["sftp"]["remote_directory"] == "/backups/db7"
    assert "sftp" in second.options
    assert "sftp" not in third.options


def test_a_prune_applies_the_retention_of_the_settings() -> None:
    [call] = calls("prune", variables={"backup_sources": [{**SOURCES[0], "retention": {"keep_last": 3}}, SOURCES[1]]})
    assert call.options == {"directory": "/b", "retention": {"keep_last": 3}}


def test_a_prune_refuses_sources_that_share_a_directory_and_differ() -> None:
    with pytest.raises(ArgumentInvalid, match="share /b"):
        calls("prune", variables={"backup_sources": [{"retention": {"keep_last": 3}}, {"engine": "sqlite", "databases": ["/x"]}]})


def test_an_upload_needs_a_server() -> None:
    with pytest.raises(ArgumentInvalid, match="have no server"):
        calls("upload")
    assert calls("upload", variables={"backup_sftp": SERVER})[0].options["sftp"]["remote_directory"] == "/backups/db7"


def test_a_restore_takes_directory_login_and_user_of_the_source() -> None:
    [call] = calls("restore", database="app")
    assert call == Call(
        "db_restore",
        {"directory": "/b", "engine": "postgresql", "login_port": 5433, "bin_directory": "/pg/bin", "database": "app"},
        "",
        "postgres",
    )
    [call] = calls("restore", database="/srv/shop.db", keep_old="true")
    assert call == Call(
        "db_restore",
        {"directory": "/srv/backups", "engine": "sqlite", "database": "/srv/shop.db", "keep_old": "true"},
        "",
        "shop",
    )


def test_a_restore_finds_the_directory_that_has_the_database() -> None:
    two = {"backup_sources": [SOURCES[0], {**SOURCES[0], "directory": "/c"}]}
    assert calls("restore", Facts(app="/c"), two, database="app")[0].options["directory"] == "/c"
    assert calls("restore", Facts(old="/c"), two, database="app", source_database="old")[0].options["directory"] == "/c"
    with pytest.raises(BackupMissing, match="good backup of app"):
        calls("restore", Facts(), two, database="app")


def test_a_restore_refuses_to_choose_between_directories() -> None:
    class Everywhere(Facts):
        def __call__(self, call: Call, *, check_mode: bool | None = None) -> Result:
            return {
                "ansible_facts": {"database_backups": {"databases": [{"newest_good": "x", "database": "app", "engine": None}]}}
            }

    with pytest.raises(BackupAmbiguous, match=r"/b \(postgresql\), /c"):
        calls("restore", Everywhere(), {"backup_sources": [{}, {"directory": "/c"}]}, database="app")


def test_a_restore_reads_from_the_server_of_the_settings() -> None:
    [call] = calls("restore", variables={"backup_sftp": SERVER}, database="app", from_server=True, from_host="db8")
    assert call.options["sftp"]["remote_directory"] == "/backups/db8"
    assert call.options["login_port"] == 5433
    assert "directory" not in call.options
    assert "from_server" not in call.options
    assert call.user == "postgres"


def test_verbs_for_one_place_refuse_to_choose() -> None:
    with pytest.raises(ArgumentInvalid, match="several directories: /b, /srv/backups"):
        calls("archive", dest="/a.zip")


def test_a_restore_finds_the_engine_that_has_the_database() -> None:
    both = {"backup_sources": [{"engine": "mysql"}, SOURCES[0]]}
    assert calls("restore", Facts(app="/b"), both, database="app")[0].options["engine"] == "postgresql"
    assert calls("restore", Facts(), both, database="app", engine="mysql")[0].options["engine"] == "mysql"
    with pytest.raises(ArgumentInvalid, match="no source of sqlite"):
        calls("restore", Facts(), both, database="/srv/x.db")


def test_encrypted_backups_are_read_with_the_identity_of_the_settings() -> None:
    identity = {"backup_identity_file": "/etc/lastgood/key"}
    assert [call.options["identity_file"] for call in calls("drill", variables=identity)] == ["/etc/lastgood/key"] * 2
    assert calls("restore", variables=identity, database="app")[0].options["identity_file"] == "/etc/lastgood/key"
    assert calls("restore", variables=identity, database="app", identity_file="/k")[0].options["identity_file"] == "/k"
    assert "identity_file" not in calls("list", variables=identity)[0].options

"""Settings are read only if nobody else can read or write them, and their secrets never show."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._program import settings
from ansible_collections.lastgood.database.tests.support.specifications import program_documents

DOCUMENTS = program_documents()
SOURCE = {"become_user": "postgres", "login_user": "backup", "login_password": "hunter2"}


def written(folder: Path, content: Any, name: str = "settings.json") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return str(path)


def read(folder: Path, content: Any, name: str = "settings.json") -> settings.Settings:
    return settings.read(written(folder, content, name), DOCUMENTS)


def test_variables_have_the_role_s_defaults_and_null_is_no_value(tmp_path: Path) -> None:
    found = read(tmp_path, {"version": 1, "inventory_hostname": "db7", "backup_retention": None, "backup_directory": "/b"})
    assert found.host == "db7"
    assert found.variables["backup_interval"] == "20h"
    assert found.variables["backup_directory"] == "/b"
    assert "backup_retention" not in found.variables and "version" not in found.variables


def test_without_a_name_the_host_has_its_own(tmp_path: Path) -> None:
    assert read(tmp_path, {}).host == os.uname().nodename


@pytest.mark.parametrize("version", [None, 1])
def test_an_older_version_is_read(tmp_path: Path, version: int | None) -> None:
    content = {"backup_directory": "/b", **({} if version is None else {"version": version})}
    assert read(tmp_path, content).variables["backup_directory"] == "/b"


def test_a_newer_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArgumentInvalid, match=r"have version 2, and this program reads versions up to 1. Install the program"):
        read(tmp_path, {"version": 2})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '"text"',
        "nan",
        '{"version": "1"}',
        '{"version": true}',
        '{"version": 0}',
        '{"inventory_hostname": 7}',
        "\0",
    ],
)
def test_garbage_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ArgumentInvalid, match="can't be used"):
        read(tmp_path, content)


def test_a_refusal_does_not_show_the_line_which_may_have_a_password(tmp_path: Path) -> None:
    for name in ("settings.json", "settings.yml"):
        with pytest.raises(ArgumentInvalid) as refused:
            read(tmp_path, 'login_password: "hunter2\n: [', name)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("mode", "word"), [(0o644, "0644"), (0o640, "0640"), (0o602, "0602")])
def test_a_file_that_others_have_access_to_is_refused(tmp_path: Path, mode: int, word: str) -> None:
    path = written(tmp_path, {})
    Path(path).chmod(mode)
    with pytest.raises(ArgumentInvalid, match=f"have mode {word}.*Run: chmod 600"):
        settings.read(path, DOCUMENTS)


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, {})
    facts = os.stat_result((0o100600, 0, 0, 1, 4711, 0, 0, 0, 0, 0))
    monkeypatch.setattr(settings, "os", types.SimpleNamespace(**{**vars(os), "fstat": lambda _descriptor: facts}))
    with pytest.raises(ArgumentInvalid, match=r"belongs to the user with id 4711.*chown root"):
        settings.read(path, DOCUMENTS)


def test_a_file_that_others_can_replace_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "everybody-s"
    (folder / "settings").mkdir(parents=True)
    path = Path(written(folder / "settings", {}))
    folder.chmod(0o777)
    monkeypatch.chdir(path.parent)
    for each in (str(path), path.name):
        with pytest.raises(ArgumentInvalid, match=f"is below {folder}, which has mode 0777.*Run: chmod go-w {folder}"):
            settings.read(each, DOCUMENTS)
    folder.chmod(0o755)
    settings.read(str(path), DOCUMENTS)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ArgumentInvalid, match="can't be used"):
            settings.read(str(path), DOCUMENTS)


def test_missing_settings_say_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(ArgumentInvalid, match=r"do not exist.*tasks_from: schedule"):
        settings.read(str(tmp_path / "settings.json"), DOCUMENTS)


def test_yaml_is_read_where_the_host_has_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "backup_directory: /b\n", "settings.yml")
    assert settings.read(path, DOCUMENTS).variables["backup_directory"] == "/b"
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ArgumentInvalid, match="Install python3-yaml, or write them as JSON"):
        settings.read(path, DOCUMENTS)
    Path(path).write_text('{"backup_directory": "/c"}')  # which is YAML, too
    assert settings.read(path, DOCUMENTS).variables["backup_directory"] == "/c"


def test_the_option_comes_before_the_environment_and_that_before_the_first_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "PLACES", (str(tmp_path / "settings.yml"), str(tmp_path / "settings.json")))
    assert settings.find(None, {}) == str(tmp_path / "settings.yml")
    written(tmp_path, {})
    assert settings.find(None, {}) == str(tmp_path / "settings.json")
    assert settings.find(None, {"LASTGOOD_SETTINGS": "/e"}) == "/e"
    assert settings.find("/o", {"LASTGOOD_SETTINGS": "/e"}) == "/o"


# --- Secrets ----------------------------------------------------------------------------------------------------


def test_secrets_and_what_no_option_describes_are_hidden(tmp_path: Path) -> None:
    sources = [{**SOURCE, "login_pasword": "hunter3", "per_database": {"app": {"login_password": "hunter4", "format": "plain"}}}]
    server = {"host": "h", "password": "hunter5", "private_key": "hunter6", "key_passphrase": "hunter7"}
    found = read(tmp_path, {"backup_sources": sources, "backup_sftp": server, "backup_sftpp": {"password": "hunter8"}})
    shown = "\n".join(settings.show(found, DOCUMENTS))
    assert "hunter" not in shown
    document = json.loads(shown)
    assert document["backup_sources"][0]["per_database"] == {"app": {"login_password": "********", "format": "plain"}}
    assert document["backup_sftp"]["host"] == "h"
    assert "backup_verify_level" not in document and document["backup_interval"] == "20h"


def test_a_diff_marks_a_secret_that_differs_and_shows_none(tmp_path: Path) -> None:
    before = read(tmp_path, {"backup_sources": [SOURCE], "backup_directory": "/b"})
    after = read(tmp_path, {"backup_sources": [{**SOURCE, "login_password": "hunter9"}], "backup_directory": "/c"})
    lines = settings.changes(before, after, DOCUMENTS)
    assert '+      "login_password": "******** (changed)"' in lines and '+  "backup_directory": "/c",' in lines
    assert "hunter" not in "".join(lines)
    assert settings.changes(before, before, DOCUMENTS) == []
    assert '+      "login_password": "********"' in settings.changes(None, after, DOCUMENTS)


@pytest.mark.parametrize("form", ["$CREDENTIALS_DIRECTORY/app", "${CREDENTIALS_DIRECTORY}/app"])
def test_credentials_are_read_in_place_of_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    (tmp_path / "app").write_text("hunter2\n")
    sources = [{"login_password_file": form, "per_database": {"one": {"login_password_file": form}}}]
    path = written(tmp_path, {"backup_sources": sources, "backup_sftp": {"private_key_file": "/etc/key"}})
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert settings.lacks_credentials(settings.read(path, DOCUMENTS))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    found = settings.load(path, DOCUMENTS).variables
    assert found["backup_sources"] == [{"login_password": "hunter2", "per_database": {"one": {"login_password": "hunter2"}}}]
    assert found["backup_sftp"] == {"private_key_file": "/etc/key"}
    assert not settings.lacks_credentials(settings.read(path, DOCUMENTS))


def test_a_key_keeps_the_line_break_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("-----BEGIN-----\nAAAA\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path = written(tmp_path, {"backup_sftp": {"private_key_file": "$CREDENTIALS_DIRECTORY/key"}})
    assert settings.load(path, DOCUMENTS).variables["backup_sftp"] == {"private_key": "-----BEGIN-----\nAAAA\n"}


def test_credentials_that_the_process_does_not_have_are_an_error_that_says_who_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, {"backup_sources": [{"login_password_file": "$CREDENTIALS_DIRECTORY/app"}]})
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ArgumentInvalid, match=r"only lastgood.service has. Run: systemctl start lastgood.service"):
        settings.load(path, DOCUMENTS)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(
        ArgumentInvalid, match=r"can't be read: No such file or directory. Give it to the service: LoadCredential=app"
    ):
        settings.load(path, DOCUMENTS)


def test_settings_come_from_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.TextIOWrapper(io.BytesIO(b'{"backup_directory": "/b"}'))
    monkeypatch.setattr(sys, "stdin", content)
    assert settings.read("-", DOCUMENTS).variables["backup_directory"] == "/b"

"""What a run does, in which order, and that nothing that fails stops the rest. The modules are replaced by their results."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, Locked
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call, Caller, Result
from ansible_collections.lastgood.database.plugins.module_utils._program.run import run
from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings

DEFAULTS = {"backup_interval": "20h", "backup_shrink_warning": 50, "backup_sftp_verify_before_delete": False}
SERVER = {"host": "backup.example.org", "user": "db7", "remote_directory": "/backups/"}
FULL = {"failed": True, "msg": "The server is full.", "error": {"code": "no_space"}}


class Modules(Caller):
    """Records calls, and answers each with a result that the test gives for the module, else with one that is good."""

    def __init__(self, results: dict[str, Any] | None = None, check_mode: bool = False) -> None:
        super().__init__("/usr/local/bin/lastgood", check_mode)
        self.calls: list[Call] = []
        self.results = results or {}

    def __call__(self, call: Call, *, check_mode: bool | None = None) -> Result:
        self.calls.append(call)
        result = self.results.get(call.module)
        if callable(result):
            result = result(call)
        if result is not None:
            return dict(result)
        if call.module == "db_backup":
            return {"changed": True, "backups": [record(name) for name in call.options.get("databases", ["app"])]}
        return {"changed": call.module == "backup_upload"}

    @property
    def order(self) -> list[str]:
        return [call.module for call in self.calls]


def record(database: str | None, outcome: str = "created") -> dict[str, Any]:
    return {"database": database, "outcome": outcome, "kind": "database", "instance": "1"}


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    def make(**variables: Any) -> Settings:
        path = tmp_path / "settings.json"
        path.touch()
        return Settings(str(path), "db7", {**DEFAULTS, "backup_directory": "/b", "backup_sources": [{}], **variables})

    return make


def ignore(result: Result) -> None:
    pass


def test_a_source_is_dumped_sent_and_pruned_then_facts_and_metrics_follow(settings: Callable[..., Settings]) -> None:
    modules = Modules()
    result = run(
        settings(
            backup_retention={"keep_last": 2},
            backup_sftp=SERVER,
            backup_sftp_retention={"keep_daily": 3},
            backup_metrics_file="/m.prom",
            backup_sources=[{"become_user": "postgres"}],
        ),
        modules,
        ignore,
    )
    assert modules.order == ["db_backup", "backup_upload", "backup_prune", "backup_prune", "backup_facts", "backup_metrics"]
    dump, upload, prune, prune_there, facts, metrics = modules.calls
    assert dump.options == {"directory": "/b", "interval": "20h", "origin": "db7", "shrink_warning": 50}
    assert upload.options["sftp"] == {"create_directory": True, **SERVER, "remote_directory": "/backups/db7"}
    assert upload.options["retention"] == {"keep_daily": 3}
    assert prune.options == {"directory": "/b", "groups": [record("app")], "retention": {"keep_last": 2}}
    assert prune_there.options["databases"] == ["app"]
    assert "directory" not in prune_there.options
    assert metrics.options == {"directories": ["/b"], "dest": "/m.prom"}
    assert [call.user for call in modules.calls] == ["postgres"] * 5 + [None]
    assert facts.options == {"directory": "/b"}
    assert not result.get("failed")
    assert result["changed"]


def test_trouble_of_one_source_does_not_stop_the_others(settings: Callable[..., Settings]) -> None:
    def dump(call: Call) -> Result:
        if call.options["databases"] == ["a"]:
            return {"failed": True, "msg": "It is broken.", "error": {"code": "connection_failed"}}
        return {"changed": True, "backups": [record("b")]}

    modules = Modules({"db_backup": dump})
    shown: list[Result] = []
    result = run(
        settings(
            backup_sources=[{"databases": ["a"]}, {"databases": ["b"]}], backup_retention={"keep_last": 1}, backup_sftp=SERVER
        ),
        modules,
        shown.append,
    )
    assert modules.order == ["db_backup", "backup_upload", "db_backup", "backup_upload", "backup_prune", "backup_facts"]
    assert result["failed"]
    assert result["failures"] == ["postgresql in /b: It is broken."]
    assert result["error"] == {"code": "connection_failed"}
    assert [one["title"] for one in shown] == ["postgresql in /b"] * 2


def test_only_databases_that_did_not_fail_are_pruned(settings: Callable[..., Settings]) -> None:
    records = [record("a"), record("b", "failed"), record(None), record("b")]
    dumped = {"failed": True, "msg": "b failed.", "error": {"code": "program_failed"}, "backups": records}
    modules = Modules({"db_backup": dumped})
    run(settings(backup_retention={"keep_last": 1}, backup_sftp=SERVER, backup_sftp_retention={"keep_last": 1}), modules, ignore)
    here, there = (call for call in modules.calls if call.module == "backup_prune")
    assert here.options["groups"] == [record("a"), record(None), record("b")]
    assert there.options["databases"] == ["@globals", "a"]  # on the server one of two of the name b failed


def test_a_masked_group_is_selected_by_name(settings: Callable[..., Settings]) -> None:
    masked = {**record("app"), "instance": "/srv/********/app.db"}
    modules = Modules({"db_backup": {"backups": [masked]}})
    run(settings(backup_retention={"keep_last": 1}), modules, ignore)
    assert modules.calls[1].options == {"directory": "/b", "databases": ["app"], "retention": {"keep_last": 1}}


def test_a_full_server_is_pruned_and_tried_again(settings: Callable[..., Settings]) -> None:
    answers = [FULL, {"changed": True}]
    modules = Modules({"backup_upload": lambda call: answers.pop(0)})
    result = run(settings(backup_sftp=SERVER, backup_sftp_retention={"keep_last": 1}), modules, ignore)
    assert modules.order == ["db_backup", "backup_upload", "backup_prune", "backup_upload", "backup_prune", "backup_facts"]
    assert not result.get("failed")


def test_a_failed_upload_prunes_nothing_on_the_server(settings: Callable[..., Settings]) -> None:
    modules = Modules({"backup_upload": {"failed": True, "msg": "No route.", "error": {"code": "connection_failed"}}})
    result = run(
        settings(backup_sftp=SERVER, backup_retention={"keep_last": 1}, backup_sftp_retention={"keep_last": 1}), modules, ignore
    )
    assert modules.order == ["db_backup", "backup_upload", "backup_prune", "backup_facts"]
    assert result["failures"] == ["postgresql in /b, upload: No route. The backups on this host are safe."]


def test_a_cause_is_reported_once(settings: Callable[..., Settings]) -> None:
    gone = {"failed": True, "msg": "The directory is missing.", "error": {"code": "directory_missing"}}
    result = run(settings(), Modules({"db_backup": gone, "backup_facts": gone}), ignore)
    assert result["failures"] == ["postgresql in /b: The directory is missing."]


def test_a_signal_ends_the_run_after_the_module_that_it_stopped(settings: Callable[..., Settings]) -> None:
    modules = Modules()

    def dump(call: Call) -> Result:
        modules.signal = signal.SIGTERM
        return {"failed": True, "msg": "The run was ended. (SIGTERM)", "error": {"code": "interrupted"}}

    modules.results["db_backup"] = dump
    result = run(
        settings(backup_sources=[{}, {"directory": "/c"}], backup_sftp=SERVER, backup_metrics_file="/m.prom"), modules, ignore
    )
    assert modules.order == ["db_backup"]
    assert result["error"]["code"] == "interrupted"
    assert result["failures"][-1] == "The run was ended by a signal. Not backed up: postgresql in /c."


def test_check_mode_asks_the_server_to_delete_nothing(settings: Callable[..., Settings]) -> None:
    modules = Modules(check_mode=True)
    run(settings(backup_sftp=SERVER, backup_retention={"keep_last": 1}, backup_sftp_retention={"keep_last": 1}), modules, ignore)
    assert modules.order == ["db_backup", "backup_upload", "backup_prune", "backup_facts"]


def test_two_runs_with_the_same_settings_do_not_overlap(settings: Callable[..., Settings]) -> None:
    made = settings()
    modules = Modules()
    with open(made.path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Locked):
            run(made, modules, ignore)
    assert modules.calls == []
    run(made, modules, ignore)
    assert modules.calls


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"backup_sources": []}, "backup_sources is empty"),
        ({"backup_directory": ""}, "has no directory"),
        ({"backup_sftp": {"host": "h"}}, "backup_sftp lacks user and remote_directory"),
    ],
)
def test_settings_that_can_not_work_begin_no_run(settings: Callable[..., Settings], variables: Any, words: str) -> None:
    modules = Modules()
    with pytest.raises(ArgumentInvalid, match=words):
        run(settings(**variables), modules, ignore)
    assert modules.calls == []

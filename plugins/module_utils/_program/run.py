"""The verb ``run``: runs the same modules in the same order as the role's roles/backup/tasks/main.yml does for a host.

After a failure it continues with the next step and the next source.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import Interrupted, Locked, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call, Caller, Result
from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings
from ansible_collections.lastgood.database.plugins.module_utils._program.sources import (
    Source,
    places_of,
    server_of,
    server_rules_of,
    sources_of,
)

_FULL = "no_space"
_MASKS = ("********", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER")  # Ansible's replacements of secrets in results


def run(settings: Settings, caller: Caller, show: t.Callable[[Result], object]) -> Result:
    """Back up every source, and call ``show`` with the results of each. Raises BackupError if nothing could be begun."""
    sources = sources_of(settings)
    work = _Work(settings, caller, server_of(settings), server_rules_of(settings))
    with _alone(settings.path):
        runs: list[Result] = []
        for source in sources:
            if caller.signal is None:
                runs.append(work.back_up(source))
                show(runs[-1])
        inventory = work.take_stock(places_of(sources))
        metrics = work.write_metrics(sources)
    if caller.signal is not None:
        work.failures.append(f"The run was ended by a signal. {_left(sources[len(runs) :])}".strip())
        work.error = {"code": Interrupted.code}
    results = [result for one in runs for result in one.values() if isinstance(result, dict)] + [metrics]
    return {
        "changed": any(result.get("changed") for result in results),
        "runs": runs,
        "inventory": inventory,
        **({"metrics": metrics} if metrics else {}),
        "failures": work.failures,
        **({"failed": True, "msg": " ".join(work.failures), "error": work.error} if work.failures else {}),
    }


def _left(sources: t.Sequence[Source]) -> str:
    return f"Not backed up: {', '.join(source.title for source in sources)}." if sources else ""


@contextlib.contextmanager
def _alone(path: str) -> t.Iterator[None]:
    """Prevent other runs with the same settings. Raises Locked if one is under way.

    The lock is on the settings file itself, so that no other file is needed. A child that outlives a killed run holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreFailed(f"The settings {path} can't be locked: {error.strerror}.", "See the file.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Locked(f"Another run with the settings {path} is under way.", "Wait for its end.") from error
    finally:
        os.close(descriptor)


class _Work:
    """The steps of a run, and what failed in them."""

    def __init__(self, settings: Settings, caller: Caller, server: Result | None, server_rules: Result) -> None:
        self.failures: list[str] = []
        self.error: Result = {}  # of the first failure
        self._variables = settings.variables
        self._caller = caller
        self._server = server
        self._server_rules = server_rules

    def back_up(self, source: Source) -> Result:
        """Dump the databases of a source, send its good backups, and prune."""
        dumped = self._call(source, "db_backup", **source.options)
        if dumped.get("failed"):
            self._fail(source.title, dumped)
        records = dumped.get("backups") or []
        groups = [record for record in records if record["outcome"] != "failed"]
        failed = {_name(record) for record in records if record["outcome"] == "failed"}
        succeeded = sorted({_name(record) for record in groups} - failed)
        uploaded = self._upload(source, succeeded, dumped) if self._server else {}
        return {
            "title": source.title,
            "dumped": dumped,
            "uploaded": uploaded,
            **self._prune(source, groups, succeeded, uploaded),
        }

    def take_stock(self, places: t.Iterable[Source]) -> list[Result]:
        """Return the facts about each directory."""
        found = []
        for place in places:
            result = self._call(place, "backup_facts")
            self._fail_once("facts", result)
            found.append({**result, "_backup_place": place.directory})
        return found

    def write_metrics(self, sources: t.Sequence[Source]) -> Result:
        """Write the metrics of all directories, if the settings name a file for them."""
        file = self._variables.get("backup_metrics_file")
        if not file or self._caller.signal is not None:
            return {}
        options = {"directories": [place.directory for place in places_of(sources)], "dest": file}
        result = self._caller(Call("backup_metrics", options, "metrics"))
        self._fail_once("metrics", result)
        return result

    def _upload(self, source: Source, succeeded: list[str], dumped: Result) -> Result:
        """Send every good backup, even after a failure."""
        uploaded = self._send(source)
        if uploaded.get("failed") and _is_full(uploaded) and self._server_rules and succeeded:
            # Retention normally follows a successful upload, which can't happen on a full server.
            freed = self._prune_server(source, succeeded)
            uploaded = uploaded if freed.get("failed") else self._send(source)
            if freed.get("failed"):
                self._fail(f"{source.title}, full server", freed)
        if uploaded.get("failed"):
            safe = "" if dumped.get("failed") else " The backups on this host are safe."
            self._fail(f"{source.title}, upload", uploaded, safe)
        return uploaded

    def _send(self, source: Source) -> Result:
        rules = {"retention": self._server_rules} if self._server_rules else {}
        return self._call(source, "backup_upload", sftp=self._server, **rules)

    def _prune(self, source: Source, groups: list[Result], succeeded: list[str], uploaded: Result) -> Result:
        """Delete backups that no rule retains, of databases that did not fail. After an upload, do so on the server as well."""
        found: Result = {}
        if source.retention and groups:
            # Ansible's code masks a part of a group that equals a password. The databases are then selected by name.
            selected = {"databases": succeeded} if _is_masked(groups) else {"groups": groups}
            found["pruned"] = self._call(source, "backup_prune", **selected, retention=source.retention)
        on_server = self._server_rules and not uploaded.get("failed") and not self._caller.check_mode
        if on_server and succeeded and not found.get("pruned", {}).get("failed"):
            found["pruned_there"] = self._prune_server(source, succeeded)
        for result in found.values():
            if result.get("failed"):
                self._fail(f"{source.title}, retention", result)
        return found

    def _prune_server(self, source: Source, databases: list[str]) -> Result:
        options = {
            "sftp": self._server,
            "databases": databases,
            "retention": self._server_rules,
            "verify_before_delete": self._variables.get("backup_sftp_verify_before_delete"),
        }
        return self._caller(Call("backup_prune", options, source.title, source.user))

    def _call(self, source: Source, module: str, **options: t.Any) -> Result:
        if self._caller.signal is not None:
            return {}
        return self._caller(Call(module, {"directory": source.directory, **options}, source.title, source.user))

    def _fail(self, title: str, result: Result, more: str = "") -> None:
        self.failures.append(f"{title}: {result['msg']}{more}")
        self.error = self.error or result.get("error") or {}

    def _fail_once(self, title: str, result: Result) -> None:
        """Record a failure, unless an earlier step reported its cause."""
        if result.get("failed") and result["msg"] not in " ".join(self.failures):
            self._fail(title, result)


def _name(record: Result) -> str:
    """Return the name by which backups on the server are selected."""
    return record.get("database") or "@globals"


def _is_masked(groups: list[Result]) -> bool:
    text = json.dumps(groups)
    return any(mask in text for mask in _MASKS)


def _is_full(uploaded: Result) -> bool:
    failures = [uploaded, *(uploaded.get("failed_uploads") or [])]
    return any((failure.get("error") or {}).get("code") == _FULL for failure in failures)

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from datetime import datetime, timezone
from pathlib import Path

from ansible.plugins.action import ActionBase

from ansible_collections.lastgood.database.plugins.module_utils._ansible import file_attributes
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError
from ansible_collections.lastgood.database.plugins.module_utils._overview.freshness import STATES
from ansible_collections.lastgood.database.plugins.plugin_utils._play import is_in_lockstep
from ansible_collections.lastgood.database.plugins.plugin_utils._report.data import Report, report_of
from ansible_collections.lastgood.database.plugins.plugin_utils._report.file import Existing, check, read, write
from ansible_collections.lastgood.database.plugins.plugin_utils._report.page import page_of, statement

_VARIABLE = "backup_inventory"
_WRONG_STRATEGY = {
    "failed": True,
    "msg": "The report needs the results of all hosts, which do not finish together with this strategy. Use the strategy linear.",
    "error": {"code": "strategy_unsuitable"},
}


class ActionModule(ActionBase):
    """Writes the report on the controller, without a connection to a host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        _validation, options = self.validate_argument_spec(  # type: ignore[no-untyped-call]
            argument_spec={"dest": {"type": "path", "required": True}, "mode": {"type": "raw"}}
        )
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        if not is_in_lockstep(self._task):
            return {**result, **_WRONG_STRATEGY}
        path = Path(os.path.abspath(os.path.expanduser(options["dest"])))
        variables = task_vars or {}
        # Facts are data: templating those of a large fleet would take longer than everything else.
        results = {host: variables["hostvars"].raw_get(host).get(_VARIABLE) for host in variables["ansible_play_hosts_all"]}
        try:
            report = report_of(results, datetime.now(timezone.utc))
            return {**result, **self._replace(path, report, file_attributes({**options, "owner": None, "group": None}).mode)}
        except BackupError as error:
            return {**result, "failed": True, "msg": str(error), "error": error.as_result()}
        except OSError as error:
            problem = f"The report could not be written to {path}: {error.strerror}."
            remedy = "Its folder has to exist, and the user who runs Ansible has to be able to write to it."
            return {**result, "failed": True, "msg": f"{problem} {remedy}", "error": {"code": "report_not_written"}}

    def _replace(self, path: Path, report: Report, mode: int) -> dict[str, t.Any]:
        """Write the page, even if only ages changed: the page shows when it was made, which should be the last run."""
        page = page_of(report)
        existing = read(path)
        before, after = _described(existing), (*statement(page), f"mode {mode:04o}")
        if self._task.check_mode:
            check(path)
        else:
            write(path, page, mode)
        counts = {state: report.count(state) for state in STATES}
        words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        return {
            "changed": before != after,
            "dest": str(path),
            "hosts": counts,
            "msg": f"Hosts: {words or 'none'}. The report is {path}.",
            **({"diff": _difference(path, before, after)} if self._task.diff else {}),
            "_ansible_verbose_always": True,
        }


def _described(existing: Existing | None) -> tuple[str, ...]:
    return () if existing is None else (*statement(existing.text), f"mode {existing.mode:04o}")


def _difference(path: Path, before: tuple[str, ...], after: tuple[str, ...]) -> dict[str, str]:
    """Return the lines that only one of the two has."""
    common = set(before) & set(after)
    old, new = ("".join(f"{line}\n" for line in lines if line not in common) for lines in (before, after))
    return {"before": old, "after": new, "before_header": str(path), "after_header": str(path)}

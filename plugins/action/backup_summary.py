# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime, timezone

from ansible.plugins.action import ActionBase

from ansible_collections.lastgood.database.plugins.module_utils._overview.expected import counts_of, expected_on, not_fresh
from ansible_collections.lastgood.database.plugins.module_utils._overview.summary import (
    NOT_FRESH,
    TABLES,
    Table,
    freshness_lines,
    lines_of,
)
from ansible_collections.lastgood.database.plugins.plugin_utils._play import is_in_lockstep


class ActionModule(ActionBase):
    """Shows the table on the controller, without a connection to a host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        _validation, options = self.validate_argument_spec(  # type: ignore[no-untyped-call]
            argument_spec={"table": {"type": "str", "choices": list(TABLES), "required": True}}
        )
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        result["changed"] = False
        variables = task_vars or {}
        table = TABLES[options["table"]]
        if table is NOT_FRESH:
            return {**result, **self._freshness(variables)}
        lines = lines_of(table, self._hosts(variables, table), check_mode=bool(self._task.check_mode))
        return {**result, "msg": lines, "_ansible_verbose_always": True}

    def _freshness(self, variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Judge the databases of this host, and for the play's first host those of all hosts."""
        now, name = datetime.now(timezone.utc), variables["inventory_hostname"]
        own = expected_on(variables["hostvars"][name], now)
        is_for_all = is_in_lockstep(self._task)
        shows = not is_for_all or name == variables["ansible_play_batch"][0]
        hosts = self._hosts(variables, NOT_FRESH) if shows else {}
        expected = {host: expected_on(values, now) for host, values in hosts.items()} or {name: own}
        shown = {"msg": freshness_lines(expected), "_ansible_verbose_always": True} if shows else {}
        return {**shown, "counts": counts_of(expected), "not_fresh": not_fresh(own), "whole_play": is_for_all}

    def _hosts(self, variables: dict[str, t.Any], table: Table) -> dict[str, t.Any]:
        """Return the variables of the hosts to show: those with a result, and those that failed before they had one.

        If each host runs through the play separately, return only this host: the others may not have finished.
        """
        hostvars = variables["hostvars"]
        if not is_in_lockstep(self._task):
            return {variables["inventory_hostname"]: hostvars[variables["inventory_hostname"]]}
        remaining = set(variables["ansible_play_hosts"])
        hosts: list[str] = variables["ansible_play_hosts_all"]
        return {host: hostvars[host] for host in hosts if host not in remaining or table.variable in hostvars[host]}

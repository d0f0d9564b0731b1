# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.lastgood.database.plugins.plugin_utils._play import is_in_lockstep
from ansible_collections.lastgood.database.plugins.plugin_utils._summary import TABLES, lines_of


class ActionModule(ActionBase):
    """Show the table on the controller, without a connection to a host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        _validation, options = self.validate_argument_spec(  # type: ignore[no-untyped-call]
            argument_spec={"table": {"type": "str", "choices": list(TABLES), "required": True}}
        )
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        table = TABLES[options["table"]]
        hosts = {host: variables["hostvars"][host] for host in self._hosts(variables, table.variable)}
        lines = lines_of(table, hosts, check_mode=bool(self._task.check_mode))
        return {**result, "changed": False, "msg": lines, "_ansible_verbose_always": True}

    def _hosts(self, variables: dict[str, t.Any], result: str) -> list[str]:
        """Return the hosts to show: those with a result, and those that failed before they had one.

        If each host runs through the play separately, return only this host: the others may not have finished.
        """
        if not is_in_lockstep(self._task):
            return [variables["inventory_hostname"]]
        remaining = set(variables["ansible_play_hosts"])
        hosts: list[str] = variables["ansible_play_hosts_all"]
        return [host for host in hosts if host not in remaining or result in variables["hostvars"][host]]

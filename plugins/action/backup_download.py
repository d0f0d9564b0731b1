# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t
from datetime import datetime

from ansible.plugins.action import ActionBase

from ansible_collections.lastgood.database.plugins.module_utils._ansible import now, presentable
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import selection_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.download import DOWNLOAD_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import ONE_STORE, connector_from
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, host_errors
from ansible_collections.lastgood.database.plugins.module_utils._operations.download import DownloadRequest, download
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._progress import Progress
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.plugins.plugin_utils._download.controller import (
    ControllerRunner,
    folder_for,
    lines_every,
)
from ansible_collections.lastgood.database.plugins.plugin_utils._download.host_store import HostStore
from ansible_collections.lastgood.database.plugins.plugin_utils._download.transfer import Transfer

Result = dict[str, t.Any]


class ActionModule(ActionBase):
    """Asks the module on the host which backups there are, and fetches them to the controller. Needs no host for SFTP."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        _validation, options = self.validate_argument_spec(  # type: ignore[no-untyped-call]
            argument_spec=DOWNLOAD_SPEC, mutually_exclusive=[ONE_STORE], required_one_of=[ONE_STORE]
        )
        variables = task_vars or {}
        result: Result = super().run(tmp, task_vars)
        try:
            with host_errors(), contextlib.ExitStack() as stack:
                return {**result, **self._download(options, variables, stack)}
        except BackupError as error:
            return {**result, **_failed(error)}

    def _download(self, options: Result, variables: Result, stack: contextlib.ExitStack) -> Result:
        host = str(variables["inventory_hostname"])
        folder = stack.enter_context(contextlib.closing(LocalStore(folder_for(options["dest"], host))))
        selection, clock = selection_from(options), now
        answer: Result = {}
        if options["directory"] is None:
            connect = connector_from(options, check_mode=self._task.check_mode, runner=ControllerRunner())
            source: t.Any = stack.enter_context(contextlib.closing(connect()))
            fetch = None
        else:
            answer = self._execute_module(
                module_name="lastgood.database.backup_download", module_args=self._task.args, task_vars=variables
            )
            if answer.get("failed") or answer.get("unreachable"):
                return answer
            transfer = stack.enter_context(Transfer(self._connection, self._low_level_execute_command))
            source = HostStore(host, answer, transfer)
            fetch = source.fetch

            def clock() -> datetime:  # the module selected the newest backups by this time
                return t.cast(datetime, source.time)

        request = DownloadRequest(source, selection, folder, options["archive"], fetch, options["verify"])
        progress = Progress(*([lines_every(options["progress"], host)] if options["progress"] > 0 else []))
        returned = self._returned(download(request, Context(ControllerRunner(), clock, self._task.check_mode, progress)))
        if "ansible_facts" in answer:  # the Python interpreter that Ansible discovered
            returned["ansible_facts"] = answer["ansible_facts"]
        if answer.get("warnings"):
            returned["warnings"] = [*answer["warnings"], *returned.get("warnings", [])]
        return returned

    def _returned(self, outcome: Outcome) -> Result:
        values: Result = dict(outcome.values)
        if outcome.diff is not None and self._task.diff:
            values["diff"] = outcome.diff()
        if outcome.warnings:
            values["warnings"] = list(outcome.warnings)
        failed = {} if outcome.failure is None else _failed(outcome.failure)
        return t.cast(Result, presentable({**values, **failed}))


def _failed(error: BackupError) -> Result:
    return {"failed": True, "msg": str(error), "error": error.as_result()}

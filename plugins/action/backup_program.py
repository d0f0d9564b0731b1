# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import tempfile
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

from ansible_collections.lastgood.database.plugins.plugin_utils._program_builder import program

_SPEC: dict[str, t.Any] = {
    "dest": {"type": "path", "default": "/usr/local/bin/lastgood"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "raw", "default": "0755"},
}


class ActionModule(ActionBase):
    """Builds the program on the controller, and copies it to the host."""

    TRANSFERS_FILES = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        _validation, options = self.validate_argument_spec(argument_spec=_SPEC)  # type: ignore[no-untyped-call]
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        with tempfile.TemporaryDirectory(prefix="lastgood-") as folder:
            source = Path(folder, "lastgood")
            source.write_bytes(program())
            arguments = {name: value for name, value in options.items() if value is not None}
            result.update(self._copy({**arguments, "src": str(source)}, task_vars))
        result.pop("src", None)  # a file of the controller that no longer exists
        return {"dest": options["dest"], **result}

    def _copy(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """Return the result of Ansible's own module copy."""
        task = self._task.copy()
        task.args = arguments
        action = self._shared_loader_obj.action_loader.get(
            "ansible.legacy.copy",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        copied: dict[str, t.Any] = action.run(task_vars=task_vars)
        return copied

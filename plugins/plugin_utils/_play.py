"""The way Ansible runs the play of a task."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible.playbook.task import Task

# With these, every host of the play finishes a task before any host begins the next.
_LOCKSTEP = ("linear", "debug")


def is_in_lockstep(task: Task) -> bool:
    """Return whether all hosts have finished the tasks before this one."""
    strategy: str = task.get_play().strategy
    return strategy.rpartition(".")[2] in _LOCKSTEP

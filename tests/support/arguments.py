"""Give an AnsibleModule its arguments within this process, under every ansible-core that the collection supports."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # ansible-core before 2.17.7 and 2.18
    import contextlib
    import json
    from collections.abc import Iterator
    from typing import Any
    from unittest import mock

    from ansible.module_utils import basic

    @contextlib.contextmanager
    def patch_module_args(args: dict[str, Any] | None = None) -> Iterator[None]:
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": args or {}}).encode()
        with mock.patch.object(basic, "_ANSIBLE_ARGS", arguments):
            yield


__all__ = ["patch_module_args"]

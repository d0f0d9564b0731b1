"""The options for the identity that reads encrypted backups. plugins/doc_fragments/_identity.py describes them to users."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import resource

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Spec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Identity
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params

IDENTITY_SPEC: Spec = {
    "identity": {"type": "str", "no_log": True},
    "identity_file": {"type": "path"},
    "identity_passphrase": {"type": "str", "no_log": True},
}


def identity_from(params: Params) -> Identity | None:
    """Return the identity, None if none is given. With an identity, this process and its programs leave no core file."""
    text, file, passphrase = params["identity"], params["identity_file"], params["identity_passphrase"]
    if text is None and file is None:
        if passphrase is not None:
            raise ArgumentInvalid("There is an identity_passphrase, and no identity.", "Give identity or identity_file.")
        return None
    if text is not None and file is not None:
        raise ArgumentInvalid("identity and identity_file don't go together.", "Give one of them.")
    if file is not None and not os.path.isabs(file):
        raise ArgumentInvalid(f"identity_file is {file!r}, which is not an absolute path.", "Name it from the root on.")
    _leave_no_core_file()
    return Identity(text, file, passphrase)


def _leave_no_core_file() -> None:
    """Limit core files to 1 byte. Unlike the limit 0, this also keeps Linux from calling a core handler. See core(5)."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    with contextlib.suppress(OSError, ValueError):  # the hard limit is 0, which no user but root can raise
        resource.setrlimit(resource.RLIMIT_CORE, (1, hard if hard == resource.RLIM_INFINITY else max(hard, 1)))

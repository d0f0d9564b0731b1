"""The options for the encryption of new backups. plugins/doc_fragments/_encryption.py describes them to users."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Spec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Recipients
from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import ENCRYPTIONS
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, list_from

_NONE = "none"

ENCRYPTION_SPEC: Spec = {
    "encryption": {"type": "str", "choices": [_NONE, *ENCRYPTIONS], "default": _NONE},
    "recipients": {"type": "list", "elements": "str"},
    "recipients_file": {"type": "path"},
}


def encoding_from(params: Params) -> Encoding:
    """Return how payloads are compressed and encrypted."""
    return Encoding(params["compression"], None if params["encryption"] == _NONE else params["encryption"])


def recipients_from(params: Params) -> Recipients | None:
    """Return who can decrypt, None without an encryption. Raises ArgumentInvalid if only one of the two is given."""
    texts, file = list_from(params, "recipients"), params["recipients_file"]
    if params["encryption"] == _NONE:
        if texts is not None or file is not None:
            raise ArgumentInvalid(
                "There are recipients, and encryption is none.", f"Set encryption to one of {', '.join(ENCRYPTIONS)}."
            )
        return None
    if texts is None and file is None:
        raise ArgumentInvalid(f"encryption is {params['encryption']}, and no recipient is given.", "Give recipients.")
    if file is not None and not os.path.isabs(file):
        raise ArgumentInvalid(f"recipients_file is {file!r}, which is not an absolute path.", "Name it from the root on.")
    return Recipients(texts or (), file)

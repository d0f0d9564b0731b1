"""The options for the encryption of new backups: which go together, and what they are for the codecs."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.encryption import encoding_from, recipients_from
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Recipients
from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid


def params(**given: Any) -> dict[str, Any]:
    return {"compression": "gzip", "encryption": "none", "recipients": None, "recipients_file": None, **given}


def test_by_default_nothing_is_encrypted() -> None:
    assert encoding_from(params()) == Encoding("gzip")
    assert recipients_from(params()) is None


@pytest.mark.parametrize(
    ("given", "recipients"),
    [
        ({"recipients": ["a", "b"]}, Recipients(("a", "b"))),
        ({"recipients_file": "/etc/keys"}, Recipients((), "/etc/keys")),
        ({"recipients": ["a"], "recipients_file": "/etc/keys"}, Recipients(("a",), "/etc/keys")),
    ],
)
def test_recipients_are_texts_or_in_a_file_or_both(given: dict[str, Any], recipients: Recipients) -> None:
    assert encoding_from(params(encryption="gpg", **given)) == Encoding("gzip", "gpg")
    assert recipients_from(params(encryption="gpg", **given)) == recipients


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"encryption": "age"}, "no recipient is given"),
        ({"recipients": ["a"]}, "encryption is none"),
        ({"recipients_file": "/etc/keys"}, "encryption is none"),
        ({"encryption": "age", "recipients": []}, "recipients"),
        ({"encryption": "age", "recipients_file": "keys"}, "not an absolute path"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentInvalid, match=words):
        recipients_from(params(**given))

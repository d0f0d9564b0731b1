"""The face of age, https://age-encryption.org/v1."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import (
    Decoding,
    EncryptionCodec,
    Identity,
    Recipients,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class AgeEncryption:
    """The encryption ``age``."""

    name: t.ClassVar[str] = "age"
    suffix: t.ClassVar[str] = ".age"

    def codec(self, recipients: Recipients, runner: Runner) -> EncryptionCodec:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.age.codec import age_codec

        return age_codec(recipients, runner)

    def decoding(self, identity: Identity, runner: Runner) -> Decoding:
        raise ArgumentInvalid("A payload that is encrypted (age) can't be read.", "Decrypt it first.")

"""The face of the encryption age, https://age-encryption.org/v1."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import (
    Decoding,
    EncryptionCodec,
    Identity,
    Recipients,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class AgeEncryption:
    """The encryption ``age``."""

    name: t.ClassVar[str] = "age"
    suffix: t.ClassVar[str] = ".age"

    def codec(self, recipients: Recipients, runner: Runner) -> EncryptionCodec:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.age.codec import age_codec

        return age_codec(recipients, runner)

    def decoding(self, identity: Identity, runner: Runner) -> Decoding:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.age.decoding import age_decoding

        return age_decoding(identity, runner)

    def opened_by(self, identity: Identity, beginning: bytes, runner: Runner) -> tuple[str, ...]:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.age.decoding import age_opened_by

        return age_opened_by(identity, beginning, runner)

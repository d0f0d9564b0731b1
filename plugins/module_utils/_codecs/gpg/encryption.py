"""The face of the encryption gpg, which is OpenPGP by GnuPG."""

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


class GpgEncryption:
    """The encryption ``gpg``."""

    name: t.ClassVar[str] = "gpg"
    suffix: t.ClassVar[str] = ".gpg"

    def codec(self, recipients: Recipients, runner: Runner) -> EncryptionCodec:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.codec import gpg_codec

        return gpg_codec(recipients, runner)

    def decoding(self, identity: Identity, runner: Runner) -> Decoding:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.decoding import gpg_decoding

        return gpg_decoding(identity, runner)

    def opened_by(self, identity: Identity, beginning: bytes, runner: Runner) -> tuple[str, ...]:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.decoding import gpg_opened_by

        return gpg_opened_by(identity, beginning, runner)

"""The compressions and encryptions, by the names in manifests and options. File names follow from their suffixes.

The faces are imported by name, so that Ansible's packer finds every file.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._codecs.age.encryption import AgeEncryption
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Compression, Encryption
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.encryption import GpgEncryption
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gzip.compression import GzipCompression
from ansible_collections.lastgood.database.plugins.module_utils._codecs.none.compression import NoCompression
from ansible_collections.lastgood.database.plugins.module_utils._codecs.zstd.compression import ZstdCompression

COMPRESSIONS: dict[str, Compression] = {
    GzipCompression.name: GzipCompression(),
    ZstdCompression.name: ZstdCompression(),
    NoCompression.name: NoCompression(),
}

ENCRYPTIONS: dict[str, Encryption] = {
    AgeEncryption.name: AgeEncryption(),
    GpgEncryption.name: GpgEncryption(),
}

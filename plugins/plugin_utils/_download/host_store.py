"""The files that the module on a host listed, as a store to read from. The host's answer is checked: the host may be hostile."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import math
import typing as t
from datetime import datetime, timezone

from ansible_collections.lastgood.database.plugins.module_utils._errors import FileMissing, ServerInvalid, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import LARGEST_MANIFEST
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name, parse
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Capabilities, FileFacts
from ansible_collections.lastgood.database.plugins.module_utils._text import unescaped
from ansible_collections.lastgood.database.plugins.plugin_utils._download.transfer import Transfer

_LONGEST_NAME = 255 - len("..0123456789abcdef.partial")  # so that the partial of a payload has a name as well
_LARGEST_FILE = 2**62


def _directory(location: t.Any) -> str:
    """Return the directory on the host. For OpenSSH's sftp, a line break in a path would end a command."""
    path = unescaped(location) if isinstance(location, str) else ""
    if not path.startswith("/") or not path.isprintable():
        raise ValueError(f"{path!r} is not the path of a directory")
    return path


class HostStore:
    """Backups on a host. Implements the reading half of the store's protocol."""

    capabilities = Capabilities(reads_cheaply=False, has_locks=False, replaces_atomically=False)

    def __init__(self, host: str, answer: t.Mapping[str, t.Any], transfer: Transfer) -> None:
        """Raises ServerInvalid for an answer that can't be our module's."""
        self.warnings: list[str] = []
        self._transfer = transfer
        self._facts: dict[str, FileFacts] = {}
        self._data: dict[str, bytes] = {}
        try:
            self._directory = _directory(answer["location"])
            self.time = datetime.fromtimestamp(float(answer["time"]), timezone.utc)
            for file in answer["files"]:
                self._add(file)
        except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
            raise ServerInvalid(
                f"The answer of {host} is not that of the module backup_download: {error}",
                "See who controls the host. Nothing was fetched.",
            ) from error
        self.location = f"{host}:{self._directory}"

    def _add(self, file: t.Mapping[str, t.Any]) -> None:
        name, size, modified, manifest = file["filename"], file["bytes"], float(file["modified"]), file["manifest"]
        if not isinstance(name, str) or parse(name) is None:
            raise ValueError(f"{name!r} is no backup's name")
        if not isinstance(size, int) or not 0 <= size < _LARGEST_FILE or not math.isfinite(modified):
            raise ValueError(f"{name} can't have the size {size!r} and the time {modified!r}")
        self._facts[name] = FileFacts(size, modified)
        if manifest is not None and len(name) <= _LONGEST_NAME:  # files without a manifest are not fetched
            self._data[manifest_name(name)] = base64.b64decode(manifest)[: LARGEST_MANIFEST + 1]

    def close(self) -> None:
        """Do nothing: nothing is open between two calls."""

    def exists(self) -> bool:
        return True

    def path(self, name: str) -> str:
        return f"{self.location}/{name}"

    def staging(self) -> None:
        return None

    def bookkeeping(self) -> None:
        return None

    def names(self) -> list[str]:
        return [*self._facts, *self._data]

    def facts(self, name: str) -> FileFacts | None:
        data = self._data.get(name)
        return self._facts.get(name) if data is None else FileFacts(len(data), self.time.timestamp())

    def taken(self, name: str) -> bool:
        return self.facts(name) is not None

    def is_held(self, name: str) -> bool:
        return False

    def read(self, name: str, limit: int) -> bytes | None:
        data = self._data.get(name)
        return None if data is None else data[:limit]

    def facts_of(self, names: t.Iterable[str]) -> t.Iterator[FileFacts | None]:
        return map(self.facts, names)

    def read_many(self, names: t.Iterable[str], limit: int) -> t.Iterator[bytes | StoreFailed | None]:
        return (self.read(name, limit) for name in names)

    def chunks(self, name: str, offset: int = 0) -> t.Generator[memoryview, None, None]:
        facts = self._facts.get(name)
        if facts is None:
            raise FileMissing(f"{self.path(name)} was not listed.", "Run again.")
        yield from self._transfer.chunks(self._on_host(name), facts.size_bytes, offset)

    def drop_cache(self, name: str) -> None:
        """Do nothing: the controller can't drop the host's cache."""

    def fetch(self, name: str, destination: str) -> bool:
        """Fill a file of the controller, and return whether that was possible."""
        facts = self._facts.get(name)
        return facts is not None and self._transfer.fetch(self._on_host(name), destination, facts.size_bytes)

    def _on_host(self, name: str) -> str:
        return f"{self._directory}/{name}"

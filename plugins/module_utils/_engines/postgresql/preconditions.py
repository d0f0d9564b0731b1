"""Checks, before a restore begins, whether a backup can be restored on a server at all."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import query
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ServerReadOnly,
    ServerTooOld,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._space import check_space, free_bytes

if t.TYPE_CHECKING:
    import psycopg2.extensions


def check_writable(connection: psycopg2.extensions.connection) -> None:
    [(is_standby,)] = query(connection, "SELECT pg_is_in_recovery()")
    if is_standby:
        raise ServerReadOnly(
            "The server is a standby, or recovers: nothing can be restored to it.",
            "Restore to its primary, from where it comes here; or wait until it is promoted.",
        )


def check_version(connection: psycopg2.extensions.connection, manifest: Manifest) -> None:
    major = connection.server_version // 10000
    needed = max((_major(text) for text in (manifest.server_version, manifest.tool)), default=0)
    if needed > major:
        raise ServerTooOld(
            f"The backup is of PostgreSQL {manifest.server_version}, by {manifest.tool}, and the server is {major}.",
            f"Restore it to a server of version {needed} or newer.",
        )


def _major(text: str | None) -> int:
    match = re.search(r"(?<!\d)(\d{1,4})(?:\.\d+|devel|beta\d+|rc\d+)?$", text or "")
    return 0 if match is None else int(match[1])


def check_room(connection: psycopg2.extensions.connection, manifest: Manifest) -> None:
    """Raise NoSpace if the server's disk has no room. Checks only a server on this host, whose directory our user can see."""
    if not str(connection.info.host).startswith("/") or manifest.content_bytes is None:
        return
    try:
        [(directory,)] = query(connection, "SHOW data_directory")
        free = free_bytes(directory, directory)
    except BackupError:
        return
    remedy = "Make room; the database is as it was."
    check_space(f"The server's {directory}", free, manifest.content_bytes, "the new database", remedy)

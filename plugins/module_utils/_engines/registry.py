# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Which engines there are, and whose a dump is. Imported by name, so that the packer which ships a module finds every file."""

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.base import (
    ContentDigest,
    Engine,
    Format,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.content import (
    ARCHIVE_MAGIC,
    SCRIPT_BEGINNING,
    CustomDigest,
    PlainDigest,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.dump import (
    PostgresqlEngine,
    PostgresqlOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.dump import (
    FILE_MAGIC,
    FileDigest,
    SqliteEngine,
    SqliteOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

EngineOptions = t.Union[PostgresqlOptions, SqliteOptions]


def engine_for(options: EngineOptions, runner: Runner) -> Engine:
    """Return the engine whose options these are."""
    if isinstance(options, PostgresqlOptions):
        return PostgresqlEngine(options, runner)
    return SqliteEngine(options, runner.is_stopped)


def content_digest_for(engine: str | None, form: str | None) -> ContentDigest | None:
    """Return what looks at a dump's content, by the words of its manifest; None where these are not known here."""
    digests: dict[tuple[str | None, str | None], type[ContentDigest]] = {
        (PostgresqlEngine.name, "custom"): CustomDigest,
        (PostgresqlEngine.name, "plain"): PlainDigest,
        (SqliteEngine.name, "custom"): FileDigest,
    }
    make = digests.get((engine, form))
    return None if make is None else make()


def describe_content(head: bytes) -> tuple[str, Format] | None:
    """Return engine and format of a dump by how it begins; None where that is not known here."""
    if head.startswith(ARCHIVE_MAGIC):
        return PostgresqlEngine.name, "custom"
    if head.startswith(FILE_MAGIC):
        return SqliteEngine.name, "custom"
    return (PostgresqlEngine.name, "plain") if SCRIPT_BEGINNING.match(head) else None

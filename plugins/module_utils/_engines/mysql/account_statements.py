"""Reads a backup of accounts, and executes its statements on a server."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.accounts import accounts_of
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import execute
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.statements import Statement, Statements
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid, QueryFailed

if t.TYPE_CHECKING:
    import pymysql

_ALLOWED = re.compile(
    rb"(?:/\*!40101 SET NAMES utf8mb4 \*/|(?:CREATE|ALTER) USER |CREATE ROLE |GRANT |REVOKE |SET DEFAULT ROLE )"
)
_NAME = r"`(?:[^`]|``)*`"
_OF_ACCOUNT = re.compile(
    rf"(?:(?:CREATE|ALTER) (?:USER|ROLE) (?:IF NOT EXISTS )?|GRANT .* TO |SET DEFAULT ROLE {_NAME} FOR )({_NAME})(?:@({_NAME}))?",
    re.DOTALL,
)
_COMMENT = re.compile(rb"\A(?:--[^\n]*\n|\s+)+")


class AccountStatements:
    """Collects a backup of accounts, which is small, and splits it into statements at the end."""

    def __init__(self) -> None:
        self._found: list[bytes] = []
        self._statements = Statements(self._add)

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self._statements.update(data)

    def finish(self) -> list[bytes]:
        """Return the statements. Raises ContentInvalid if one of them is not about accounts."""
        self._statements.finish()
        for statement in self._found:
            if _ALLOWED.match(statement) is None:
                raise ContentInvalid(
                    f"It has a statement that is not of accounts: {statement[:40].decode('utf-8', 'replace')}",
                    "See who wrote it; this collection writes no such backup.",
                )
        return self._found

    def _add(self, statement: Statement) -> None:
        self._found.append(_COMMENT.sub(b"", statement.text))


def make_accounts(connection: pymysql.Connection[t.Any], statements: AccountStatements) -> list[str]:
    """Create the accounts that a server lacks, with their grants. Existing accounts are not changed. Return warnings."""
    existing = accounts_of(connection)
    warnings: list[str] = []
    for statement in statements.finish():
        account = _account_in(statement)
        if account is None or account in existing:
            continue
        try:
            execute(connection, statement)
        except QueryFailed as error:
            warnings.append(f"A statement about the account {account[0]}@{account[1]} failed: {error.problem}")
    return warnings


def _account_in(statement: bytes) -> tuple[str, str] | None:
    """Return the account that a statement is about; None if it is about none."""
    text = statement.decode("utf-8", "surrogateescape")
    match = _OF_ACCOUNT.match(text)
    if match is None:
        return None
    name, host = (part and part[1:-1].replace("``", "`") for part in (match[1], match[2] or ""))
    return name, host

"""Every option that the pg_dump of each version has was looked at: it is refused, or known to do no harm."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.dump import PostgresqlDumper
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.extra_arguments import (
    check_extra_arguments,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, ProgramFailed
from tools.throwaway_postgresql import Server

DATA = "create table in_app (n int); create table other (n int)"

# They choose or shape the content, or say more; none changes the file, its format, the jobs or the connection, leaves out all
# tables or all rows, or has a plain dump drop things first, lead to another database or change the session's user.
HARMLESS = set(
    re.findall(
        r"\S+",
        """
    verbose sync-method
    blobs no-blobs large-objects no-large-objects extension exclude-extension encoding
    schema exclude-schema no-owner superuser table exclude-table no-privileges
    column-inserts disable-dollar-quoting disable-triggers enable-row-security
    exclude-table-and-children exclude-table-data exclude-table-data-and-children extra-float-digits filter
    include-foreign-data inserts load-via-partition-root no-comments no-policies no-publications
    no-security-labels no-statistics no-subscriptions no-table-access-method no-tablespaces
    no-toast-compression no-unlogged-table-data on-conflict-do-nothing quote-all-identifiers
    rows-per-insert sequence-data serializable-deferrable snapshot statistics strict-names
    table-and-children
    """,
    )
)


def is_refused(argument: str) -> bool:
    try:
        check_extra_arguments([argument])
    except ArgumentInvalid:
        return True
    return False


def test_every_option_of_pg_dump_is_refused_or_known_to_be_harmless(postgresql: Server) -> None:
    words = postgresql.run("pg_dump", "--help").stdout
    found = re.findall(r"^ +(?:-(.), |)--([a-z-]+)(=?)", words, re.MULTILINE)
    assert len(found) > 50
    for letter, name, value in found:
        refused = is_refused(f"--{name}{value and '=x'}")
        assert refused == (name not in HARMLESS), f"--{name} is new: does it change the file, its format or the connection?"
        if letter:
            assert is_refused(f"-{letter}{value and 'x'}") == refused, letter
            assert is_refused(f"-v{letter}{value and 'x'}") == refused, letter


def test_letters_with_a_value_are_known(postgresql: Server) -> None:
    words = postgresql.run("pg_dump", "--help").stdout
    for letter, value in re.findall(r"^ +-(.), --[a-z-]+(=?)", words, re.MULTILINE):
        if not is_refused(f"-{letter}x"):
            assert is_refused(f"-{letter}f") == (not value), letter


def test_what_is_refused_would_have_been_taken_in_each_spelling(postgresql: Server) -> None:
    # That pg_dump really understands what we refuse: else the refusal would refuse nothing.
    for argument in ("--fil=/nonexistent/x", "--file=/nonexistent/x", "-f/nonexistent/x", "-vf/nonexistent/x"):
        done = postgresql.run("pg_dump", argument, check=False)
        ambiguous = argument.startswith("--fil=") and postgresql.major >= 17
        assert done.returncode != 0
        assert ("ambiguous" if ambiguous else "/nonexistent/x") in done.stderr
        assert is_refused(argument)


def test_useful_arguments_reach_pg_dump(engine: Callable[..., PostgresqlDumper], dump: Callable[..., bytes]) -> None:
    content = dump(engine(format="plain", extra_args=("-Tother", "--no-owner", "-vnpublic")))
    assert b"in_app" in content
    assert b"TABLE public.other" not in content
    assert b"OWNER TO" not in content


@pytest.mark.parametrize("argument", ["--exclude-table", "--schema", "--exclude-table-data", "--encoding"])
def test_an_argument_without_its_value_takes_none_of_ours_for_it(
    engine: Callable[..., PostgresqlDumper], dump: Callable[..., bytes], argument: str
) -> None:
    # Else it would take the name of the database, and another one would be dumped in its place.
    with pytest.raises(ProgramFailed, match="requires an argument"):
        dump(engine(format="plain", extra_args=(argument,)))

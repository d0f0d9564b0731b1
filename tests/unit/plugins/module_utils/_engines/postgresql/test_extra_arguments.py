# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.extra_arguments import (
    check_extra_arguments,
    partial_arguments,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

REFUSED_LONG = [
    *("file", "format", "jobs", "compress", "no-sync", "lock-wait-timeout"),
    *("dbname", "host", "port", "username", "password", "no-password", "role"),
    *("help", "version"),
]
REFUSED_SHORT = "fFjZdhpUWwV?"


@pytest.mark.parametrize(
    "argument",
    [
        *("--exclude-table=*_log", "-Ta*", "-N*x", "--table=*", "-n*", "--exclude-table-data=public.*"),
        *("--exclude-table=a", "-Ta", "-T=a", "--exclude-table-data=audit.*", "--exclude-schema=x", "-Nx"),
        *("--table=a", "-ta", "--schema=public", "-npublic", "-n public"),
        *("--no-owner", "-O", "--no-privileges", "-x", "--no-comments"),
        *("-vO", "-bOx", "--verbose", "-v", "--blobs", "--no-blobs"),
        *("--encoding=UTF8", "-EUTF8", "--extension=x", "-ex", "--superuser=x", "-Sx"),
        *("--inserts", "--column-inserts", "--rows-per-insert=100", "--serializable-deferrable"),
        *("--snapshot=00000003-1", "--no-security-labels", "--no-statistics", "--no-policies", "--statistics"),
        # A value may look like anything: it is in the same word.
        *("--exclude-table=--file=x", "-Tf", "-tF", "-nd", "-Ehp", "-vTf", "--table=/tmp/x", "--exclude-table=a b"),
        "-vn public",
    ],
)
def test_what_selects_or_shapes_the_content_is_taken(argument: str) -> None:
    check_extra_arguments([argument])


@pytest.mark.parametrize("name", REFUSED_LONG)
def test_every_spelling_of_a_long_option_of_ours_is_refused(name: str) -> None:
    for length in range(1, len(name) + 1):
        for argument in (f"--{name[:length]}", f"--{name[:length]}=x"):
            with pytest.raises(ArgumentInvalid, match="the collection's own to set"):
                check_extra_arguments(["--no-owner", argument])


@pytest.mark.parametrize("letter", REFUSED_SHORT)
def test_every_spelling_of_a_short_option_of_ours_is_refused(letter: str) -> None:
    for argument in (f"-{letter}", f"-{letter}x", f"-{letter}/tmp/x", f"-v{letter}/tmp/x", f"-vO{letter}", f"-{letter}={letter}"):
        with pytest.raises(ArgumentInvalid, match=f"sets -{'[?]' if letter == '?' else letter}, the collection's own to set"):
            check_extra_arguments(["-O", argument])


@pytest.mark.parametrize(
    "argument",
    [
        *("--schema-only", "--schema-o", "-s", "-vs", "--data-only", "--da", "-a", "-Oa", "--no-data", "--no-schema"),
        *("--section=data", "--sec=pre-data", "--section", "--statistics-only"),
        *("--exclude-table-data=*", "--exclude-table=*.*", '--exclude-schema="*"', "--exclude-table-data-and-ch=**"),
        *("-T*", "-N*", "-vT*.*"),
    ],
)
def test_what_leaves_no_backup_of_a_database_is_refused(argument: str) -> None:
    with pytest.raises(ArgumentInvalid, match="no backup of a database"):
        check_extra_arguments([argument])


@pytest.mark.parametrize(
    "argument",
    ["--clean", "--cl", "--create", "--cr", "--if-exists", "--if", "-c", "-C", "-vC", "-Oc", "--use-set-session-authorization"],
)
def test_what_would_keep_a_plain_dump_from_going_into_a_new_database_is_refused(argument: str) -> None:
    with pytest.raises(ArgumentInvalid, match="db_restore always makes a new database"):
        check_extra_arguments([argument])


@pytest.mark.parametrize("argument", ["", "-", "--", "app", "dbname=app host=elsewhere", "postgresql://elsewhere/app", " -O"])
def test_what_is_no_option_is_refused(argument: str) -> None:
    with pytest.raises(ArgumentInvalid, match="not an argument that begins with a dash"):
        check_extra_arguments([argument])


@pytest.mark.parametrize("words", [["--exclude-table", "audit"], ["-T", "audit"]])
def test_a_value_in_a_word_of_its_own_is_refused(words: list[str]) -> None:
    with pytest.raises(ArgumentInvalid, match="Give each argument as one word with its value, such as --exclude-table=audit"):
        check_extra_arguments(words)


@pytest.mark.parametrize("argument", ["-T", "-n", "-t", "-N", "-e", "-E", "-S", "-vT", "-OxvT"])
def test_a_short_option_without_its_value_is_refused_since_it_would_take_the_next_word_for_it(argument: str) -> None:
    with pytest.raises(ArgumentInvalid, match="lacks its value"):
        check_extra_arguments([argument])


@pytest.mark.parametrize("argument", ["--password=secret", "--dbname=postgresql://u:secret@h/d"])
def test_the_value_of_a_refused_argument_is_not_repeated(argument: str) -> None:
    with pytest.raises(ArgumentInvalid) as caught:
        check_extra_arguments([argument])
    assert "secret" not in str(caught.value)


def test_no_arguments_are_fine() -> None:
    check_extra_arguments([])


@pytest.mark.parametrize(
    "argument",
    [
        *("--exclude-table-data=audit", "--exclude-table=audit", "-Taudit", "-vTaudit", "--exclude-schema=old", "-Nold"),
        *("--table=item", "-titem", "--schema=app", "-napp", "--extension=hstore", "-ehstore", "--exclude-extension=hstore"),
        *("--filter=/etc/filter", "--no-blobs", "--no-large-objects", "-B", "--enable-row-security", "--no-comments"),
        *("--no-owner", "-O", "--no-privileges", "-x", "-Ox", "--no-publications", "--no-subscriptions", "--no-policies"),
        *("--no-unlogged-table-data", "--exclude-table-data-and-children=audit", "--an-option-of-tomorrow"),
    ],
)
def test_what_leaves_something_out_makes_a_partial_backup(argument: str) -> None:
    check_extra_arguments([argument])
    assert partial_arguments(["--verbose", argument]) == (argument,)


@pytest.mark.parametrize(
    "argument",
    [
        *("--verbose", "-v", "--inserts", "--rows-per-insert=10", "--serializable-deferrable", "--large-objects", "-b", "-vb"),
        *("--quote-all", "--encoding=LATIN1", "-ELATIN1", "--include-foreign-data=far", "--no-tablespaces", "--no-statistics"),
    ],
)
def test_what_changes_only_how_a_dump_is_written_makes_a_whole_one(argument: str) -> None:
    check_extra_arguments([argument])
    assert partial_arguments([argument]) == ()


def test_the_order_of_arguments_makes_no_difference() -> None:
    assert partial_arguments(["-Tb", "-Ta", "-Tb"]) == partial_arguments(["-Ta", "-v", "-Tb"]) == ("-Ta", "-Tb")

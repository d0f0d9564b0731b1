"""Whose fault it is that a statement of a dump failed."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import tempfile

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.faults import (
    Fault,
    Reported,
    reported_by,
    reported_in,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid, Inconclusive


@pytest.mark.parametrize(
    ("sqlstate", "statement"),
    [
        ("P0001", "CREATE EXTENSION IF NOT EXISTS pg_cron WITH SCHEMA pg_catalog"),
        ("0A000", "CREATE EXTENSION nosuch"),
        ("42883", "CREATE EXTENSION old"),
        ("42704", "COMMENT ON EXTENSION nosuch IS 'x'"),
        ("58P01", "CREATE FUNCTION public.f() RETURNS integer\n    LANGUAGE sql"),
        ("42883", "CREATE FUNCTION public.f() RETURNS integer\n    LANGUAGE c\n    AS '$libdir/x', 'f'"),
        ("22023", "SET default_tablespace = fast"),
        ("42704", "SET transaction_timeout = 0"),
        ("22023", 'CREATE COLLATION public.c (provider = icu, locale = "xx")'),
        ("42704", 'CREATE TABLE public.t (a text COLLATE pg_catalog."de_DE.utf8")'),
        ("42704", "ALTER TABLE public.t OWNER TO somebody"),
        ("42704", "GRANT SELECT ON TABLE public.t TO somebody"),
        ("HV00D", "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw"),
        ("42501", "CREATE TABLE public.t (n integer)"),
        ("53100", "COPY public.t (n) FROM stdin"),
        ("57014", "COPY public.t (n) FROM stdin"),
        ("25006", "CREATE TABLE public.t (n integer)"),
        ("55000", "CREATE TABLE public.t (n integer)"),
        ("XX000", "CREATE INDEX i ON public.t USING btree (n)"),
    ],
)
def test_what_the_server_lacks_says_nothing_of_a_backup(sqlstate: str, statement: str) -> None:
    fault = Fault(sqlstate, statement)
    assert fault.is_the_server_s
    assert isinstance(fault.verdict("It failed."), Inconclusive)


@pytest.mark.parametrize(
    ("sqlstate", "statement"),
    [
        ("23514", 'COPY public."too many clients" (n) FROM stdin'),
        ("23505", "ALTER TABLE ONLY public.t ADD CONSTRAINT t_pkey PRIMARY KEY (n)"),
        ("22P02", "COPY public.t (n) FROM stdin"),
        ("42601", "CREATE TABEL public.t (n integer)"),
        ("42601", "ALTER ROLE shop_owner WIHT NOSUPERUSER"),
        ("42704", "CREATE TABLE public.t (n public.missing)"),
        ("42P01", "CREATE VIEW public.v AS SELECT * FROM public.missing"),
        ("22023", "ALTER TABLE ONLY public.t ALTER COLUMN n SET (pg_attver=1)"),
        ("P0001", "COPY public.t (n) FROM stdin"),
    ],
)
def test_what_no_server_accepts_is_the_dump_s_fault(sqlstate: str, statement: str) -> None:
    assert isinstance(Fault(sqlstate, statement).verdict("It failed."), ContentInvalid)


def test_a_function_that_needs_a_search_path_is_named_with_what_can_be_done() -> None:
    verdict = Fault("42P01", "COPY public.t (n) FROM stdin", "public.is_fine").verdict("It failed.")
    assert isinstance(verdict, ContentInvalid)
    assert "public.is_fine" in verdict.problem and "ALTER FUNCTION" in verdict.remedy


def test_codes_are_read_whatever_the_server_s_language() -> None:
    words = (
        "psql:/dev/fd/7:4: FEHLER:  42704: Rolle \u00bbx\u00ab existiert nicht\nLOCATION:  get_rolespec_oid, acl.c:5588\n"
        'psql:/dev/fd/7:30: ERROR:  42P01: relation "other" does not exist\nLINE 1: select\nQUERY:  select\n'
        'CONTEXT:  SQL function "is_fine" during inlining\nCOPY t, line 1: "1"\nLOCATION:  parserOpenTable, relation.c:1449\n'
    )
    assert reported_by(words) == [
        Reported(4, "42704", None),
        Reported(30, "42P01", "is_fine"),
    ]


def test_the_error_that_ended_a_script_is_taken_and_no_warning_before_it() -> None:
    words = (
        "psql:/dev/fd/7:1: WARNING:  55000: wal_level is insufficient to publish logical changes\nLOCATION:  x, y.c:1\n"
        "psql:/dev/fd/7:2: ERROR:  23505: duplicate key value\nLOCATION:  x, y.c:2\n"
    )
    with tempfile.TemporaryFile() as script:
        script.write(b"CREATE PUBLICATION p;\nCREATE UNIQUE INDEX i ON public.t (n);\n")
        script.flush()
        fault = reported_in(words, script.fileno())
    assert fault is not None and (fault.sqlstate, fault.statement) == ("23505", "CREATE UNIQUE INDEX i ON public.t (n)")

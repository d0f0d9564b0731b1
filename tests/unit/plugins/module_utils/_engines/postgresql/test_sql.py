"""SQL as PostgreSQL's programs write it, split into statements however it arrives."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import (
    Statements,
    quote_identifier,
    roles_in,
    unquote_identifier,
)

DUMP = rb"""--
-- PostgreSQL database dump; with a semicolon
--

\restrict key

SET client_encoding = 'UTF8';
CREATE FUNCTION public.f() RETURNS void LANGUAGE plpgsql AS $_$
begin
  -- a comment; 'with a quote
  execute 'grant select on t to nobody';
end $_$;

ALTER FUNCTION public.f() OWNER TO "we ird;""x";
COMMENT ON TABLE public.t IS 'it''s; -- no comment
\connect elsewhere
GRANT ALL ON TABLE t TO fake;';

COPY public.t (n, "a;b") FROM stdin;
1	GRANT ALL ON TABLE t TO fake;
\\connect x
it's "odd; $$
\.


COPY public.empty (n) FROM stdin;
\.

/* a comment; */
GRANT SELECT ON TABLE public.t TO reader;
\unrestrict key
"""
EXPECTED = [
    "\\restrict key",
    "SET client_encoding = 'UTF8'",
    "CREATE FUNCTION",
    'ALTER FUNCTION public.f() OWNER TO "we ird;""x"',
    "COMMENT ON TABLE",
    'COPY public.t (n, "a;b") FROM stdin',
    "COPY public.empty (n) FROM stdin",
    "GRANT SELECT ON TABLE public.t TO reader",
    "\\unrestrict key",
]


def split(dump: bytes, pieces: int) -> list[str]:
    found: list[str] = []
    statements = Statements(found.append)
    for start in range(0, len(dump), pieces):
        statements.update(memoryview(dump)[start : start + pieces])
    statements.finish()
    return found


@pytest.mark.parametrize("pieces", [1, 2, 7, 64, 100_000])
def test_statements_are_told_apart_however_they_arrive(pieces: int) -> None:
    found = split(DUMP, pieces)
    assert [one[: len(start)] for one, start in zip(found, EXPECTED)] == EXPECTED
    assert len(found) == len(EXPECTED)


@pytest.mark.parametrize("pieces", [1, 100_000])
def test_a_comment_and_what_rows_say_are_in_no_statement(pieces: int) -> None:
    assert not any("semicolon" in one or "odd" in one or "a comment; */" in one for one in split(DUMP, pieces))


@pytest.mark.parametrize(("encoding", "codec"), [("LATIN1", "latin-1"), ("EUC_JP", "euc_jp"), ("UTF8", "utf-8")])
def test_statements_are_in_the_encoding_that_the_dump_says(encoding: str, codec: str) -> None:
    found: list[str] = []
    name = {"LATIN1": "j\u00fcrgen"}.get(encoding, "\u65e5\u672c")
    statements = Statements(found.append)
    statements.update(f"SET client_encoding = '{encoding}';\nALTER TABLE t OWNER TO \"{name}\";\n".encode(codec))
    statements.finish()
    assert found[1] == f'ALTER TABLE t OWNER TO "{name}"'
    assert statements.encoding == encoding


def test_bytes_of_another_encoding_come_through() -> None:
    found: list[str] = []
    statements = Statements(found.append)
    statements.update(b"SET client_encoding = 'UTF8';\nALTER TABLE t OWNER TO \"j\xfcrgen\";\n")
    statements.finish()
    assert found[1].encode("utf-8", "surrogateescape") == b'ALTER TABLE t OWNER TO "j\xfcrgen"'


def test_a_row_of_many_megabytes_is_not_kept() -> None:
    found = split(b"INSERT INTO t VALUES ('" + b"x;y" * 3_000_000 + b"');\nGRANT a TO b;\n", 1 << 20)
    assert [len(found[0]) <= 1 << 20, *found[1:]] == [True, "GRANT a TO b"]


@pytest.mark.parametrize(
    ("statement", "roles"),
    [
        ("ALTER TABLE public.item OWNER TO bob", {"bob"}),
        ('ALTER FUNCTION public.f("OWNER TO x" integer) OWNER TO "We ird;""s"', {'We ird;"s'}),
        ("GRANT SELECT,INSERT ON TABLE public.item TO reader WITH GRANT OPTION", {"reader"}),
        ("GRANT ALL ON SCHEMA public TO PUBLIC", set()),
        ("REVOKE ALL ON FUNCTION public.f() FROM PUBLIC", set()),
        ("REVOKE SELECT ON TABLE t FROM reader", {"reader"}),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE bob IN SCHEMA s GRANT SELECT ON TABLES TO carol", {"bob", "carol"}),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE bob REVOKE ALL ON FUNCTIONS FROM PUBLIC", {"bob"}),
        ("ALTER ROLE carol IN DATABASE \"my app\" SET work_mem TO '9MB'", {"carol"}),
        ('SET SESSION AUTHORIZATION "we ird;"', {"we ird;"}),
        ("CREATE POLICY p ON public.t TO carol USING (true)", {"carol"}),
        ("CREATE POLICY p ON public.t AS RESTRICTIVE FOR SELECT TO carol, bob WITH CHECK ((n > 1))", {"carol", "bob"}),
        ("CREATE POLICY p ON public.t USING ((a TO b))", set()),
        ('CREATE POLICY p ON public."t (old)" FOR SELECT TO carol USING (true)', {"carol"}),
        ('CREATE POLICY p ON "a (b".t TO "c (d", bob USING ((x TO y))', {"c (d", "bob"}),
        ("CREATE USER MAPPING FOR carol SERVER s OPTIONS (password 'x')", {"carol"}),
        ("CREATE USER MAPPING FOR public SERVER s", set()),
        ("COMMENT ON TABLE t IS 'ALTER TABLE x OWNER TO bob'", set()),
        ("ALTER DATABASE app CONNECTION LIMIT = 33", set()),
    ],
)
def test_the_roles_that_a_statement_needs(statement: str, roles: set[str]) -> None:
    assert roles_in(statement) == roles


@pytest.mark.parametrize("name", ["plain", 'two "quotes"', "", "a;b", '"'])
def test_a_quoted_name_is_the_name_again(name: str) -> None:
    assert unquote_identifier(quote_identifier(name)) == name

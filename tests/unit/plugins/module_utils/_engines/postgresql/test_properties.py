"""What belongs to a database itself, taken from a dump's statements and given to a database of another name."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.properties import Properties

NAME = 'it\'s "new"'
QUOTED = '"it\'s ""new"""'


def properties_of(*statements: str) -> Properties:
    properties = Properties()
    for statement in statements:
        properties.take(statement)
    return properties


def test_the_new_database_is_made_as_the_old_one_was() -> None:
    properties = properties_of("CREATE DATABASE app WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'C'")
    assert properties.create_as(NAME) == f"CREATE DATABASE {QUOTED} WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'C'"


def test_a_dump_that_does_not_make_a_database_says_nothing_of_how() -> None:
    assert properties_of("CREATE TABLE t (n int)").create_as(NAME) is None


def test_the_owner_is_given_by_itself_and_is_needed() -> None:
    properties = properties_of('ALTER DATABASE "a b" OWNER TO "o\'owner"')
    assert properties.owner_as(NAME) == [f'ALTER DATABASE {QUOTED} OWNER TO "o\'owner"']
    assert properties.others_as(NAME) == []
    assert properties.roles == properties.database_roles == {"o'owner"}


@pytest.mark.parametrize(
    ("statement", "renamed"),
    [
        ("ALTER DATABASE app SET work_mem TO '8MB'", "ALTER DATABASE {} SET work_mem TO '8MB'"),
        ("ALTER DATABASE app CONNECTION LIMIT = 7", "ALTER DATABASE {} CONNECTION LIMIT = 7"),
        ("COMMENT ON DATABASE app IS 'app; app'", "COMMENT ON DATABASE {} IS 'app; app'"),
        ("REVOKE CONNECT,TEMPORARY ON DATABASE app FROM PUBLIC", "REVOKE CONNECT,TEMPORARY ON DATABASE {} FROM PUBLIC"),
        ("ALTER ROLE reader IN DATABASE app SET role TO 'x'", "ALTER ROLE reader IN DATABASE {} SET role TO 'x'"),
        ("SECURITY LABEL FOR dummy ON DATABASE app IS 'secret'", "SECURITY LABEL FOR dummy ON DATABASE {} IS 'secret'"),
    ],
)
def test_settings_grants_comments_and_labels_come_along(statement: str, renamed: str) -> None:
    assert properties_of(statement).others_as(NAME) == [renamed.format(QUOTED)]


def test_a_grant_that_somebody_else_made_is_made_by_him_again() -> None:
    properties = properties_of(
        "SET SESSION AUTHORIZATION admin", "GRANT CONNECT ON DATABASE app TO reader", "RESET SESSION AUTHORIZATION"
    )
    assert properties.others_as("b") == [
        "SET SESSION AUTHORIZATION admin",
        'GRANT CONNECT ON DATABASE "b" TO reader',
        "RESET SESSION AUTHORIZATION",
    ]
    assert properties.database_roles == {"admin", "reader"}


def test_what_is_in_the_database_is_none_of_it_but_needs_its_roles() -> None:
    properties = properties_of("ALTER TABLE public.t OWNER TO owner", "GRANT SELECT ON TABLE public.t TO reader")
    assert properties.others_as("b") == properties.owner_as("b") == []
    assert properties.roles == {"owner", "reader"}
    assert properties.database_roles == set()


def test_each_extension_comes_with_its_schema() -> None:
    properties = properties_of(
        "CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public",
        'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA "a b"',
        "CREATE EXTENSION IF NOT EXISTS pg_cron",
    )
    assert properties.extensions == {"timescaledb": "public", "uuid-ossp": "a b", "pg_cron": ""}


@pytest.mark.parametrize("name", ["search_path", '"search_path"'])
def test_the_databases_own_search_path_is_sql(name: str) -> None:
    properties = properties_of(
        "ALTER ROLE r IN DATABASE app SET search_path TO 'of', 'a role'",
        "ALTER DATABASE app SET work_mem TO '7MB'",
        f"ALTER DATABASE app SET {name} TO 'a;b', '$user'",
    )
    assert properties.search_path == "'a;b', '$user'"
    assert properties_of("ALTER DATABASE app SET work_mem TO '7MB'").search_path is None

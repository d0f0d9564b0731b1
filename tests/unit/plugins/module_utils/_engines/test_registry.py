# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import (
    ENGINES,
    Examiners,
    content_digest_for,
    describe_content,
    engine_named,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest

SCRIPT = b"--\n-- PostgreSQL database dump\n--\n\nSET x = 1;\n"


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_found_by_its_own_name(name: str) -> None:
    assert engine_named(name).name == name


@pytest.mark.parametrize("name", ["oracle", "PostgreSQL", ""])
def test_an_unknown_name_is_an_error_that_names_the_known_ones(name: str) -> None:
    with pytest.raises(ArgumentInvalid, match="postgresql, sqlite"):
        engine_named(name)


@pytest.mark.parametrize(
    ("head", "described"),
    [
        (b"PGDMP\x01\x0e", ("postgresql", "custom")),
        (SCRIPT, ("postgresql", "plain")),
        (SCRIPT.replace(b"database dump", b"database cluster dump"), ("postgresql", "plain")),
        (b"SQLite format 3\x00rest", ("sqlite", "custom")),
        (b"-- MariaDB dump 10.19", None),
        (b"", None),
    ],
)
def test_a_dump_is_recognised_by_its_beginning(head: bytes, described: tuple[str, str] | None) -> None:
    assert describe_content(head) == described


@pytest.mark.parametrize(("engine", "form"), [("postgresql", "custom"), ("postgresql", "plain"), ("sqlite", "custom")])
def test_each_format_has_a_digest_that_is_new_each_time(engine: str, form: str) -> None:
    first = content_digest_for(Manifest(engine=engine, format=form))
    assert first is not None and content_digest_for(Manifest(engine=engine, format=form)) is not first


@pytest.mark.parametrize(
    ("engine", "form"),
    [("sqlite", "plain"), ("postgresql", "tar"), ("postgresql", None), ("mysql", "custom"), ("oracle", "plain")],
)
def test_another_format_has_none(engine: str, form: str | None) -> None:
    assert content_digest_for(Manifest(engine=engine, format=form)) is None


def test_a_backup_of_an_unknown_engine_has_no_examiner(runner: ModuleRunner) -> None:
    examiners = Examiners({}, runner, lambda: datetime.now(timezone.utc))
    assert examiners.examiner_for(Manifest(engine="oracle")) is None
    assert examiners.examiner_for(Manifest()) is None


def test_an_engine_gets_its_own_options(runner: ModuleRunner) -> None:
    examiners = Examiners({"sqlite": None}, runner, lambda: datetime.now(timezone.utc))
    assert examiners.examiner_for(Manifest(engine="sqlite")) is not None
    with pytest.raises(KeyError):
        examiners.examiner_for(Manifest(engine="postgresql"))

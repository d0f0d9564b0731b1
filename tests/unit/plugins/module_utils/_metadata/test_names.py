"""File names: whatever a database is called, its name comes back; what is not ours is not taken for ours."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import resource
import string
from collections.abc import Callable
from datetime import datetime, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import COMPRESSIONS
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    BackupName,
    compose,
    copy_name,
    is_reserved,
    label_for,
    manifest_name,
    parse,
    parse_partial,
    partial_name,
)
from ansible_collections.lastgood.database.tests.support.processes import in_child

STAMP = datetime(2026, 1, 31, 1, 2, 3, tzinfo=timezone.utc)
LONGEST_FILE_NAME = 255  # bytes, on every file system that counts
LONGEST_LABEL = 150
SAFE = set(string.ascii_letters + string.digits + "._-")

ANY_TEXT = st.text(st.characters(exclude_categories=()), min_size=1)  # lone surrogates too

HOSTILE = [
    "app",
    "app_prod",
    "@globals",
    "%40globals",
    ".hidden",
    "..",
    "../../etc/passwd",
    "/absolute",
    "a/b",
    "%41",
    "%",
    "~",
    "app~0123456789abcdef",
    "_",
    "-",
    "--file=x",
    "two words",
    "new\nline",
    "\x00",
    "$HOME `id` \"'",
    "dbname=template1",
    "caf\u00e9",
    "e\u0301",
    "\U0001f418",
    "\ud800",
    "\udcff",
    "\udcc3\udca9",
    "app.dump",
    "app.dump.gz",
    "app_2026-01-31_01-02-03",
    "backup_app_2026-01-31_01-02-03.dump.gz",
    "backup_app_2026-01-31_01-02-03.dump.gz.manifest.json",
    ".backup_app_2026-01-31_01-02-03.dump.gz.partial",
    "\u4e16" * 21,  # 63 bytes: PostgreSQL's limit
    "x" * 63,
]


def file_name(database: str, compression: str = "gzip") -> str:
    return compose(label_for("database", database), STAMP, Encoding(compression))


def parsed(filename: str) -> BackupName:
    name = parse(filename)
    assert name is not None
    return name


@pytest.mark.parametrize("database", HOSTILE)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_name_comes_back_whatever_the_database_is_called(database: str, compression: str) -> None:
    filename = file_name(database, compression)
    name = parsed(filename)
    assert (name.filename, name.stamp, name.compression, name.encrypted) == (filename, STAMP, compression, False)
    assert name.kind == "database"
    if len(name.label) < LONGEST_LABEL - 20:
        assert name.database == database


@given(ANY_TEXT, st.sampled_from(list(COMPRESSIONS)))
@example("\u4e16" * 16, "zstd")
@settings(deadline=None)
def test_any_text_comes_back_or_is_cut_and_says_so(database: str, compression: str) -> None:
    name = parsed(file_name(database, compression))
    assert name.kind == "database"
    assert name.label == label_for("database", database)
    assert name.database == (None if "~" in name.label else database)
    assert ("~" in name.label) <= (3 * len(database.encode("utf-8", "surrogatepass")) > LONGEST_LABEL)


@given(ANY_TEXT)
@settings(deadline=None)
def test_a_label_is_safe_on_every_file_system_and_in_every_shell(database: str) -> None:
    label = label_for("database", database)
    assert set(label) <= SAFE | {"%", "~"}
    assert not label.startswith((".", "@"))
    assert len(label) <= LONGEST_LABEL


@given(ANY_TEXT, ANY_TEXT)
@example("\u00e9", "\udcc3\udca9")
@example("\ud800", "\udced\udca0\udc80")
@example("A", "%41")
@example("app~0123456789abcdef", "app%7E0123456789abcdef")
@example("x" * 200, "x" * 201)
@example("\u4e16" * 60, "\u4e16" * 61)
@settings(deadline=None)
def test_two_databases_never_share_a_label(one: str, other: str) -> None:
    assert (label_for("database", one) == label_for("database", other)) == (one == other)


@pytest.mark.parametrize("database", ["app", "a-b.c_D9", "0"])
def test_a_plain_name_stands_as_it_is(database: str) -> None:
    assert file_name(database) == f"backup_{database}_2026-01-31_01-02-03.dump.gz"


@pytest.mark.parametrize(
    ("database", "label"),
    [
        ("two words", "two%20words"),
        ("caf\u00e9", "caf%C3%A9"),
        ("a/b", "a%2Fb"),
        (".x.y", "%2Ex.y"),
        ("%41", "%2541"),
        ("a~", "a%7E"),
    ],
)
def test_what_is_not_plain_is_percent_encoded(database: str, label: str) -> None:
    assert label_for("database", database) == label


@pytest.mark.parametrize("length", [LONGEST_LABEL, LONGEST_LABEL + 1])
def test_a_name_is_cut_only_where_it_is_longer_than_150_bytes_encoded(length: int) -> None:
    name = parsed(file_name("x" * length))
    assert name.database == ("x" * length if length == LONGEST_LABEL else None)
    assert len(name.label) == LONGEST_LABEL


@pytest.mark.parametrize("padding", range(6))
def test_a_name_is_not_cut_inside_an_encoded_byte(padding: int) -> None:
    label = label_for("database", "x" * padding + "\u00e9" * 100)
    beginning = label.partition("~")[0]
    assert parse(f"backup_{label}_2026-01-31_01-02-03.dump") is not None
    assert beginning.replace("%C3", "").replace("%A9", "") == "x" * padding


def test_names_that_begin_alike_are_cut_to_different_labels() -> None:
    labels = {label_for("database", "x" * 200 + ending) for ending in ("", "a", "b")}
    assert len(labels) == 3
    assert len({label.partition("~")[0] for label in labels}) == 1


@pytest.mark.parametrize("database", ["x" * 63, "\u4e16" * 21, "\U0001f418" * 1000, "x" * 5000])
@pytest.mark.parametrize("ending", ["", ".age", ".gpg"])
def test_no_file_of_a_backup_has_a_name_too_long_for_a_file_system(database: str, ending: str) -> None:
    payload = file_name(database, "zstd") + ending
    assert parse(payload) is not None
    for name in (
        payload,
        manifest_name(payload),
        partial_name(payload),
        copy_name(payload),
        partial_name(manifest_name(payload)),
    ):
        assert len(name.encode()) <= LONGEST_FILE_NAME


def test_a_clusters_globals_are_no_database() -> None:
    filename = compose(label_for("globals", None), STAMP, Encoding("gzip"))
    assert filename == "backup_@globals_2026-01-31_01-02-03.dump.gz"
    name = parsed(filename)
    assert (name.kind, name.database) == ("globals", None)


def test_a_database_called_globals_is_a_database() -> None:
    name = parsed(file_name("@globals"))
    assert (name.kind, name.database) == ("database", "@globals")


def test_a_stamp_is_anchored_at_the_end() -> None:
    name = parsed("backup_app_2026-01-31_01-02-03_2027-02-28_04-05-06.dump.gz")
    assert name.database == "app_2026-01-31_01-02-03"
    assert name.stamp == datetime(2027, 2, 28, 4, 5, 6, tzinfo=timezone.utc)


@pytest.mark.parametrize("other", ["app_prod", "app_", "_app", "prod_app", "App", "app.old", "app_2026-01-31_01-02-03"])
def test_app_never_matches_another_database(other: str) -> None:
    name = parsed(file_name(other))
    assert name.database == other
    assert name.label != label_for("database", "app")


@pytest.mark.parametrize(
    ("ending", "compression", "encrypted"),
    [
        (".dump", "none", False),
        (".dump.gz", "gzip", False),
        (".dump.zst", "zstd", False),
        (".dump.age", "none", True),
        (".dump.gpg", "none", True),
        (".dump.gz.age", "gzip", True),
        (".dump.gz.gpg", "gzip", True),
        (".dump.zst.age", "zstd", True),
        (".dump.zst.gpg", "zstd", True),
    ],
)
def test_the_ending_says_how_the_payload_is_packed(ending: str, compression: str, encrypted: bool) -> None:
    name = parsed(f"backup_app_2026-01-31_01-02-03{ending}")
    assert (name.database, name.compression, name.encrypted) == ("app", compression, encrypted)


@pytest.mark.parametrize("ending", [".dump", ".dump.gz"])
def test_an_older_tools_backup_says_no_database(ending: str) -> None:
    name = parsed(f"backup_2026-01-31_01-02-03{ending}")
    assert (name.kind, name.label, name.database, name.stamp) == ("database", "", None, STAMP)


@pytest.mark.parametrize("day", ["2024-02-29", "2026-12-31", "9999-12-31"])
def test_a_day_of_the_calendar_is_a_stamp(day: str) -> None:
    assert parsed(f"backup_app_{day}_23-59-59.dump.gz").stamp.date().isoformat() == day


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-02-29_01-02-03",
        "2026-13-01_01-02-03",
        "2026-00-10_01-02-03",
        "2026-01-00_01-02-03",
        "2026-01-32_01-02-03",
        "0000-01-31_01-02-03",
        "2026-01-31_24-00-00",
        "2026-01-31_01-60-03",
        "2026-01-31_01-02-60",
        "2026-01-31_01-02",
        "2026-01-31-01-02-03",
        "2026-01-31_01:02:03",
        "2026-1-31_01-02-03",
        "26-01-31_01-02-03",
        "20260131_010203",
        "\u0662\u0660\u0662\u0666-01-31_01-02-03",
        "2026-W05-6_01-02-03",
        "",
    ],
)
def test_no_time_of_the_calendar_is_no_backup(stamp: str) -> None:
    assert parse(f"backup_app_{stamp}.dump.gz") is None


@pytest.mark.parametrize(
    "filename",
    [
        "",
        ".",
        "..",
        "README.md",
        "app.dump.gz",
        "app_2026-01-31_01-02-03.dump.gz",
        "Backup_app_2026-01-31_01-02-03.dump.gz",
        "xbackup_app_2026-01-31_01-02-03.dump.gz",
        "backup_app_2026-01-31_01-02-03.sql.gz",
        "backup_app_2026-01-31_01-02-03.DUMP",
        "backup_app_2026-01-31_01-02-03.dump.xz",
        "backup_app_2026-01-31_01-02-03.dump.gz.bak",
        "backup_app_2026-01-31_01-02-03.dump.gz~",
        "backup_app_2026-01-31_01-02-03.dump.gz\n",
        "backup_app_2026-01-31_01-02-03.dump.age.gz",
        "backup_app_2026-01-31_01-02-03.dump.gz.age.gpg",
        "backup_app_2026-01-31_01-02-03dump.gz",
        "backup_app_2026-01-31_01-02-03_1.dump.gz",
        "backup_app_2026-01-31_01-02-03",
        "backup_app2026-01-31_01-02-03.dump.gz",
        "backup__2026-01-31_01-02-03.dump.gz",
        "backup_.hidden_2026-01-31_01-02-03.dump.gz",
        "backup_two words_2026-01-31_01-02-03.dump.gz",
        "backup_caf\u00e9_2026-01-31_01-02-03.dump.gz",
        "backup_a%2fb_2026-01-31_01-02-03.dump.gz",
        "backup_a%_2026-01-31_01-02-03.dump.gz",
        "backup_a%4_2026-01-31_01-02-03.dump.gz",
        "backup_a%GG_2026-01-31_01-02-03.dump.gz",
        "backup_a~b_2026-01-31_01-02-03.dump.gz",
        "backup_a/b_2026-01-31_01-02-03.dump.gz",
        "backup_a\nb_2026-01-31_01-02-03.dump.gz",
        "backup_a\x00b_2026-01-31_01-02-03.dump.gz",
        "backup_a\udcff_2026-01-31_01-02-03.dump.gz",
        "backup_@global_2026-01-31_01-02-03.dump.gz",
        "backup_@globals2_2026-01-31_01-02-03.dump.gz",
        "backup_app_2026-01-31_01-02-03.dump.gz.manifest.json",
        ".backup_app_2026-01-31_01-02-03.dump.gz.partial",
        ".lastgood.lock",
        ".lastgood.status.json",
        "/srv/backup_app_2026-01-31_01-02-03.dump.gz",
        "../backup_app_2026-01-31_01-02-03.dump.gz",
    ],
)
def test_a_foreign_file_is_no_backup(filename: str) -> None:
    assert parse(filename) is None


@given(st.text(st.characters(exclude_categories=())))
@settings(deadline=None)
def test_no_file_name_raises_anything(filename: str) -> None:
    for name in (filename, f"backup_{filename}.dump.gz", f"backup_{filename}_2026-01-31_01-02-03.dump.gz"):
        found = parse(name)
        assert found is None or (found.filename == name and found.stamp.tzinfo is timezone.utc)
        assert parse_partial(name) is None


@given(st.from_regex(r"(?:%[0-9A-F]{2}){1,20}", fullmatch=True))
@example("%FF")
@example("%ED%A0%80")
@settings(deadline=None)
def test_encoded_bytes_that_are_no_text_raise_nothing(label: str) -> None:
    assert parsed(f"backup_{label}_2026-01-31_01-02-03.dump").database is not None


@pytest.mark.parametrize(
    "hostile",
    [
        "_" * 255,
        "backup_" + "a_" * 124,
        "backup_" + "2026-01-31_" * 22,
        "backup_" + "2026-01-31_01-02-03_" * 12,
        "backup_" + "%41" * 82 + "%",
        "backup_" + "a" * 220 + "~" + "_2026-01-31_01-02-03.dump",
        "backup_" + "%4" * 110 + "_2026-01-31_01-02-03.dump",
        "backup_" + "a~0123456789abcdef" * 11 + "_2026-01-31_01-02-03.dump",
        ".dump" * 51,
        "backup_" + ".dump.gz" * 31,
    ],
)
def test_a_hostile_name_is_told_in_no_time(hostile: str) -> None:
    def tell_all() -> list[BackupName | None]:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))  # going through all ways to match it would take years
        # Each of them another one: nothing is remembered.
        return [parse(f"{hostile[:250]}{number}") or parse(f"{number}{hostile}") or parse(hostile) for number in range(1000)]

    assert in_child(tell_all) == [None] * 1000


@pytest.mark.parametrize(
    "partial",
    [
        partial_name,
        copy_name,
        lambda payload: partial_name(manifest_name(payload)),
        lambda payload: partial_name(f"{manifest_name(payload)}.0123456789abcdef"),
    ],
)
@pytest.mark.parametrize("database", ["app", ".hidden", "a.copy", "a.manifest.json", "a.partial", "x" * 300])
def test_a_partial_says_which_payload_it_was_to_become(partial: Callable[[str], str], database: str) -> None:
    payload = file_name(database)
    name = partial(payload)
    assert name.startswith(".")
    assert parse(name) is None
    assert parse_partial(name) == parse(payload)


@pytest.mark.parametrize(
    "filename",
    [
        "backup_app_2026-01-31_01-02-03.dump.gz",
        "backup_app_2026-01-31_01-02-03.dump.gz.partial",
        ".backup_app_2026-01-31_01-02-03.dump.gz",
        ".backup_app_2026-01-31_01-02-03.dump.gz.partial.old",
        ".report.partial",
        ".partial",
        ".",
        ".lastgood.lock",
    ],
)
def test_a_foreign_file_is_no_partial(filename: str) -> None:
    assert parse_partial(filename) is None


@pytest.mark.parametrize(
    ("filename", "reserved"),
    [
        ("backup_app_2026-01-31_01-02-03.dump", True),
        ("backup_2026-01-31_01-02-03.dump.gz", True),
        ("backup_app_2026-01-31_01-02-03.dump.gz.manifest.json", True),
        (".backup_app_2026-01-31_01-02-03.dump.gz.partial", True),
        (".lastgood.lock", True),
        (".lastgood.status.json", True),
        ("backup_app_2026-01-31_01-02-03.dump.zip", False),
        ("manifest.json", False),
        ("all.tar.gz", False),
        (".all.zip.partial", False),
    ],
)
def test_what_could_be_taken_for_ours_is_reserved(filename: str, reserved: bool) -> None:
    assert is_reserved(filename) is reserved

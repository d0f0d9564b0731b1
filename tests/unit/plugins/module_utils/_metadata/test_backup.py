"""One backup: what its name, its file and its manifest make of it together."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import (
    STATES,
    Backup,
    Group,
    is_future,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    NO_MANIFEST,
    Level,
    Manifest,
    Position,
    Verdict,
    Verification,
    from_bytes,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import label_for, parse
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import FileFacts
from ansible_collections.lastgood.database.tests.support.backups import NOW, PAYLOAD, ago, manifest_of

APP = "backup_app_2026-02-28_12-00-00.dump.gz"
SIZE = len(PAYLOAD)
MODIFIED = datetime(2026, 2, 28, 12, 0, 59, 999999, tzinfo=timezone.utc).timestamp()


def backup(manifest: Manifest | None = None, filename: str = APP, **over: Any) -> Backup:
    """A good backup of ``app``, unless told otherwise."""
    name = parse(filename)
    assert name is not None
    fields: dict[str, Any] = {
        "name": name,
        "path": f"/srv/backups/{filename}",
        "facts": FileFacts(SIZE, MODIFIED),
        "manifest": manifest_of() if manifest is None else manifest,
    }
    return Backup(**{**fields, **over})


def verified(level: Level, verdict: Verdict) -> Manifest:
    return manifest_of(verification=Verification(level, verdict, ago(hours=1), "words"))


def test_there_are_four_states() -> None:
    assert STATES == ("good", "unverified", "suspect", "corrupt")


def test_good_is_what_has_a_readable_manifest_the_size_that_it_says_and_no_bad_verdict() -> None:
    assert backup().state == "good"


@pytest.mark.parametrize("level", ["checksum", "structure", "restore"])
@pytest.mark.parametrize("verdict", ["passed", "inconclusive"])
def test_a_verdict_that_is_not_bad_leaves_it_good(level: Level, verdict: Verdict) -> None:
    assert backup(verified(level, verdict)).state == "good"


@pytest.mark.parametrize(("level", "state"), [("checksum", "corrupt"), ("structure", "suspect"), ("restore", "suspect")])
def test_a_bad_verdict_says_what_it_is(level: Level, state: str) -> None:
    assert backup(verified(level, "failed")).state == state


@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1])
@pytest.mark.parametrize("manifest", [manifest_of(), verified("restore", "passed"), verified("structure", "failed")])
def test_another_size_than_recorded_is_corrupt_whatever_was_found_before(size: int, manifest: Manifest) -> None:
    assert backup(manifest, facts=FileFacts(size, 0)).state == "corrupt"


def test_what_was_read_and_has_another_digest_is_corrupt() -> None:
    assert backup(corrupt=True).state == "corrupt"
    assert backup(verified("structure", "failed"), corrupt=True).state == "corrupt"


@pytest.mark.parametrize(
    "manifest",
    [
        NO_MANIFEST,
        manifest_of(manifest_version=2),
        manifest_of(manifest_version=None),
        manifest_of(payload_sha256=None),
        manifest_of(payload_bytes=None),
        manifest_of(origin=None),
        manifest_of(instance=None),
        manifest_of(created_at=None),
        Manifest(database="app", engine="postgresql"),
    ],
)
def test_without_a_usable_manifest_it_is_unverified(manifest: Manifest) -> None:
    assert backup(manifest).state == "unverified"
    assert backup(manifest, facts=FileFacts(0, 0)).state == "unverified"


@pytest.mark.parametrize("database", ["app_prod", "App", "ap", "", None, "\ud800"])
def test_a_manifest_swapped_with_another_databases_leaves_it_unverified(database: str | None) -> None:
    swapped = manifest_of(database=database)
    assert backup(swapped).state == "unverified"
    assert backup(swapped, facts=FileFacts(1, 0)).state == "unverified"


def test_a_manifest_swapped_between_a_database_and_globals_leaves_both_unverified() -> None:
    globals_name = "backup_@globals_2026-02-28_12-00-00.dump.gz"
    assert backup(manifest_of(kind="globals", database=None), globals_name).state == "good"
    assert backup(manifest_of(), globals_name).state == "unverified"
    assert backup(manifest_of(database="@globals"), globals_name).state == "unverified"
    assert backup(manifest_of(kind="globals", database=None)).state == "unverified"
    assert backup(manifest_of(kind="table")).state == "unverified"


@pytest.mark.parametrize(
    ("created_at", "state"),
    [
        (ago(days=1), "good"),
        (ago(days=1, seconds=2), "good"),  # other backups had the names of two seconds
        (ago(days=1, minutes=61), "unverified"),
        (ago(days=1) + timedelta(milliseconds=999), "good"),
        (ago(days=1) + timedelta(seconds=1), "unverified"),
        (ago(days=0), "unverified"),
    ],
)
def test_a_manifest_of_another_time_than_the_name_s_leaves_it_unverified(created_at: datetime, state: str) -> None:
    globals_name = "backup_@globals_2026-02-28_12-00-00.dump.gz"
    assert backup(manifest_of(created_at=created_at)).state == state
    assert backup(manifest_of(created_at=created_at, kind="globals", database=None), globals_name).state == state
    assert backup(manifest_of(created_at=created_at), "backup_2026-02-28_12-00-00.dump.gz").state == "good"


def test_manifests_of_two_databases_whose_names_begin_alike_cannot_be_swapped() -> None:
    one, other = "x" * 200 + "1", "x" * 200 + "2"
    filename = f"backup_{label_for('database', one)}_2026-02-28_12-00-00.dump.gz"
    assert backup(manifest_of(database=one), filename).state == "good"
    assert backup(manifest_of(database=other), filename).state == "unverified"


@pytest.mark.parametrize("database", ["app", "caf\u00e9", "@globals", "a/b", "\ud800", "\udcff", "x" * 300])
def test_the_database_is_known_whatever_it_is_called(database: str) -> None:
    filename = f"backup_{label_for('database', database)}_2026-02-28_12-00-00.dump.gz"
    known = backup(manifest_of(database=database), filename)
    assert (known.state, known.database, known.group.database) == ("good", database, database)


def test_without_a_manifest_the_database_is_what_the_name_says() -> None:
    assert backup(NO_MANIFEST).database == "app"
    assert backup(NO_MANIFEST, f"backup_{label_for('database', 'x' * 300)}_2026-02-28_12-00-00.dump").database is None


def test_the_name_goes_before_a_manifest_that_says_another_database() -> None:
    assert backup(manifest_of(database="other")).database == "app"


def test_an_older_tools_backup_has_the_database_that_its_manifest_says_or_none() -> None:
    older = "backup_2026-02-28_12-00-00.dump.gz"
    assert (backup(NO_MANIFEST, older).database, backup(NO_MANIFEST, older).state) == (None, "unverified")
    assert (backup(manifest_of(), older).database, backup(manifest_of(), older).state) == ("app", "good")


def test_a_group_is_origin_engine_instance_kind_and_database() -> None:
    group = Group("db1", "postgresql", "7300000000000000001", "database", "app")
    assert backup().group == group
    assert backup(manifest_of(origin="db2")).group == group._replace(origin="db2")
    assert backup(manifest_of(engine="sqlite")).group == group._replace(engine="sqlite")
    assert backup(manifest_of(instance="1")).group == group._replace(instance="1")
    assert backup(NO_MANIFEST).group == Group(None, None, None, "database", "app")
    globals_backup = backup(manifest_of(kind="globals", database=None), "backup_@globals_2026-02-28_12-00-00.dump")
    assert globals_backup.group == group._replace(kind="globals", database=None)


def test_it_was_created_when_the_manifest_says_else_when_the_name_does() -> None:
    assert backup(manifest_of(created_at=ago(days=3))).created_at == ago(days=3)
    assert backup(NO_MANIFEST).created_at == datetime(2026, 2, 28, 12, 0, 0, tzinfo=timezone.utc)


def test_it_was_confirmed_when_the_manifest_says_else_when_it_was_created() -> None:
    assert backup(manifest_of(confirmed_at=ago(hours=1))).confirmed_at == ago(hours=1)
    assert backup(manifest_of(created_at=ago(days=3), confirmed_at=None)).confirmed_at == ago(days=3)
    assert backup(NO_MANIFEST).confirmed_at == datetime(2026, 2, 28, 12, 0, 0, tzinfo=timezone.utc)


def test_age_counts_from_when_it_was_confirmed() -> None:
    assert backup(manifest_of(created_at=ago(days=3), confirmed_at=ago(seconds=90))).age_seconds(NOW) == 90
    assert backup(manifest_of(created_at=ago(days=3), confirmed_at=None)).age_seconds(NOW) == 3 * 86400
    assert backup().age_seconds(NOW + timedelta(microseconds=999999)) == 86400


@given(st.datetimes(timezones=st.just(timezone.utc)), st.none() | st.datetimes(timezones=st.just(timezone.utc)))
@settings(deadline=None)
def test_an_age_is_never_negative(created_at: datetime, confirmed_at: datetime | None) -> None:
    age = backup(manifest_of(created_at=created_at, confirmed_at=confirmed_at)).age_seconds(NOW)
    assert isinstance(age, int)
    assert age >= 0


def test_a_confirmation_from_the_future_makes_nothing_young() -> None:
    confirmed_in_2038 = manifest_of(created_at=ago(days=3), confirmed_at=datetime(2038, 1, 19, tzinfo=timezone.utc))
    assert backup(confirmed_in_2038).age_seconds(NOW) == 3 * 86400
    assert backup(confirmed_in_2038).record(NOW)["confirmed_at"] == "2038-01-19 00:00:00"
    a_little_off = manifest_of(created_at=ago(days=3), confirmed_at=ago(hours=-1))
    assert backup(a_little_off).age_seconds(NOW) == 0


def test_more_than_an_hour_ahead_is_the_future() -> None:
    assert not is_future(backup(manifest_of(created_at=ago(hours=-1))).created_at, NOW)
    assert is_future(backup(manifest_of(created_at=ago(hours=-1, seconds=-1))).created_at, NOW)
    assert not is_future(backup().created_at, NOW)


def test_without_a_manifest_the_name_says_that_it_is_from_the_future() -> None:
    assert is_future(backup(NO_MANIFEST, "backup_app_2038-01-19_03-14-07.dump").created_at, NOW)
    assert is_future(backup(NO_MANIFEST, "backup_app_9999-12-31_23-59-59.dump").created_at, NOW)


def test_a_confirmation_from_the_future_does_not_make_it_the_futures() -> None:
    assert not is_future(backup(manifest_of(confirmed_at=ago(days=-1))).created_at, NOW)


def test_partial_backups_of_the_same_arguments_are_a_group() -> None:
    whole, partial = backup(manifest_of()), backup(manifest_of(partial=True, partial_arguments=("-Taudit",)))
    assert partial.group == whole.group._replace(partial=("-Taudit",))
    assert (partial.record(NOW)["partial"], partial.record(NOW)["partial_arguments"]) == (True, ["-Taudit"])


def test_a_backup_that_is_partial_for_unknown_reasons_does_not_pass_for_a_whole_one() -> None:
    assert backup(manifest_of(partial=True)).group != backup(manifest_of()).group


def test_a_record_says_all_there_is_to_know() -> None:
    manifest = manifest_of(
        created_at=ago(days=1),
        confirmed_at=ago(minutes=5),
        verification=Verification("restore", "passed", ago(hours=2), "42 tables"),
        position=Position("bin.000042", 4711, "0-1-977"),
    )
    assert backup(manifest).record(NOW) == {
        "filename": APP,
        "path": f"/srv/backups/{APP}",
        "manifest": f"{APP}.manifest.json",
        "kind": "database",
        "origin": "db1",
        "engine": "postgresql",
        "instance": "7300000000000000001",
        "source": "/run/postgresql:5432",
        "database": "app",
        "partial": False,
        "partial_arguments": [],
        "format": "custom",
        "compression": "gzip",
        "encrypted": False,
        "recipients": None,
        "state": "good",
        "pinned": False,
        "labels": {},
        "created_at": "2026-02-28 12:00:00",
        "created_at_epoch": 1772280000,
        "modified_at": "2026-02-28 12:00:59",
        "modified_at_epoch": 1772280059,
        "confirmed_at": "2026-03-01 11:55:00",
        "confirmed_at_epoch": 1772366100,
        "size_kb": "0.0",
        "size_bytes": SIZE,
        "age_seconds": 300,
        "payload_sha256": manifest.payload_sha256,
        "position": {"file": "bin.000042", "offset": 4711, "gtid": "0-1-977"},
        "verification": {
            "level": "restore",
            "verdict": "passed",
            "verified_at": "2026-03-01 10:00:00",
            "detail": "42 tables",
        },
        "problem": None,
    }


@pytest.mark.parametrize("over", [{}, {"manifest_version": 2}, {"payload_bytes": 1}])
def test_a_backup_is_pinned_where_its_manifest_says_so_whatever_its_state(over: dict[str, Any]) -> None:
    pinned = backup(manifest_of(pinned=True, labels={"app_version": "2.10"}, **over))
    assert (pinned.record(NOW)["pinned"], pinned.record(NOW)["labels"]) == (True, {"app_version": "2.10"})
    assert not backup(manifest_of(pinned=False, **over)).pinned


def test_a_record_without_a_manifest_says_what_the_name_and_the_file_do() -> None:
    assert backup(NO_MANIFEST, "backup_2026-01-31_01-02-03.dump.zst.age", facts=FileFacts(1536, MODIFIED)).record(NOW) == {
        "filename": "backup_2026-01-31_01-02-03.dump.zst.age",
        "path": "/srv/backups/backup_2026-01-31_01-02-03.dump.zst.age",
        "manifest": None,
        "kind": "database",
        "origin": None,
        "engine": None,
        "instance": None,
        "source": None,
        "database": None,
        "partial": False,
        "partial_arguments": [],
        "format": None,
        "compression": "zstd",
        "encrypted": True,
        "recipients": None,
        "state": "unverified",
        "pinned": False,
        "labels": {},
        "created_at": "2026-01-31 01:02:03",
        "created_at_epoch": 1769821323,
        "modified_at": "2026-02-28 12:00:59",
        "modified_at_epoch": 1772280059,
        "confirmed_at": "2026-01-31 01:02:03",
        "confirmed_at_epoch": 1769821323,
        "size_kb": "1.5",
        "size_bytes": 1536,
        "age_seconds": 29 * 86400 + 10 * 3600 + 57 * 60 + 57,
        "payload_sha256": None,
        "position": None,
        "verification": None,
        "problem": None,
    }


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.0"), (1, "0.0"), (52, "0.1"), (1024, "1.0"), (1536, "1.5"), (1024 * 1024, "1024.0"), (10**15, "976562500000.0")],
)
def test_a_size_in_kib_is_text_with_one_decimal(size: int, text: str) -> None:
    assert backup(facts=FileFacts(size, 0)).record(NOW)["size_kb"] == text


@pytest.mark.parametrize("year", ["0001", "0999", "1969", "9999"])
def test_a_time_in_a_record_always_has_the_same_form(year: str) -> None:
    odd = backup(NO_MANIFEST, f"backup_app_{year}-01-02_03-04-05.dump")
    assert odd.record(NOW)["created_at"] == f"{year}-01-02 03:04:05"


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_whatever_stands_in_a_sidecar_there_is_a_record(data: bytes) -> None:
    assert backup(from_bytes(data)).record(NOW)["state"] == "unverified"

"""Manifests: what we write comes back; what others wrote is read for what it has, and raises nothing."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import MOST_LABELS
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    LARGEST_MANIFEST,
    NO_MANIFEST,
    Level,
    Manifest,
    Position,
    Verdict,
    Verification,
    format_time,
    from_bytes,
)
from ansible_collections.lastgood.database.tests.support.backups import manifest_of

TEXTS = (
    "producer",
    "kind",
    "origin",
    "engine",
    "server_version",
    "tool",
    "instance",
    "database",
    "source",
    "format",
    "compression",
    "compressor",
    "encryption",
    "encryptor",
    "content_key",
)
COUNTS = ("manifest_version", "payload_bytes", "content_bytes")
FLAGS = ("major_mismatch", "encrypted", "partial", "pinned")
TIMES = ("created_at", "finished_at", "confirmed_at", "pinned_at", "labelled_at")
DIGESTS = ("payload_sha256", "content_sha256", "content_blake3", "content_hmac_sha256", "content_keyed_blake3")
NEEDED = ("manifest_version", "kind", "origin", "engine", "instance", "created_at", "payload_bytes", "payload_sha256")

any_text = st.text(st.characters(exclude_categories=()), max_size=200)  # lone surrogates too
any_time = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31), timezones=st.just(timezone.utc)).map(
    lambda time: time.replace(microsecond=0)
)
any_digest = st.binary(min_size=32, max_size=32).map(bytes.hex)
any_verification = st.builds(
    Verification, st.sampled_from(get_args(Level)), st.sampled_from(get_args(Verdict)), any_time, any_text
)
any_fields: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        **{name: st.none() | any_text for name in TEXTS},
        **{name: st.none() | st.integers(-(2**63), 2**63) for name in COUNTS},
        **{name: st.none() | st.booleans() for name in FLAGS},
        **{name: st.none() | any_time for name in TIMES},
        **{name: st.none() | any_digest for name in DIGESTS},
        "partial_arguments": st.none() | st.lists(any_text, max_size=3).map(tuple),
        "recipients": st.none() | st.lists(any_text, max_size=3).map(tuple),
        "labels": st.none() | st.dictionaries(any_text, any_text, max_size=3),
        "verification": st.none() | any_verification,
        "position": st.none() | st.builds(Position, any_text, st.integers(0, 2**63), st.none() | any_text),
    }
)
any_manifest = any_fields.map(lambda fields: Manifest(**fields))
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)

ENOUGH = manifest_of(
    verification=Verification("restore", "passed", datetime(2026, 2, 1, tzinfo=timezone.utc), "42 tables"),
    position=Position("bin.000042", 4711, "0-1-977"),
)


def on_disk(manifest: Manifest = ENOUGH, **over: Any) -> dict[str, Any]:
    values = json.loads(manifest.to_bytes())
    assert isinstance(values, dict)
    return {**values, **over}


def read(**over: Any) -> Manifest:
    return from_bytes(json.dumps(on_disk(**over)).encode())


def test_all_fields_of_a_manifest_are_tried_here() -> None:
    assert sorted(
        (*TEXTS, *COUNTS, *FLAGS, *TIMES, *DIGESTS, "partial_arguments", "recipients", "labels", "verification", "position")
    ) == sorted(Manifest._fields)


@given(any_manifest)
@settings(deadline=None)
def test_what_was_written_comes_back(manifest: Manifest) -> None:
    assert from_bytes(manifest.to_bytes()) == manifest


@given(any_manifest)
@settings(deadline=None)
def test_the_same_json_in_another_layout_says_the_same(manifest: Manifest) -> None:
    written = manifest.to_bytes()
    assert from_bytes(json.dumps(json.loads(written)).encode()) == from_bytes(written)


def test_the_file_is_json_with_sorted_keys_for_people_to_read() -> None:
    data = ENOUGH.to_bytes()
    keys = list(json.loads(data))
    assert keys == sorted(Manifest._fields)
    assert data.isascii()
    assert data.endswith(b"}\n")
    assert data.count(b"\n") > len(keys)


def test_the_file_says_what_the_contract_says_it_does() -> None:
    digest = ENOUGH.payload_sha256
    assert on_disk() == {
        "manifest_version": 1,
        "producer": "lastgood.database",
        "kind": "database",
        "origin": "db1",
        "engine": "postgresql",
        "server_version": "16.4",
        "tool": "pg_dump 16.4",
        "major_mismatch": False,
        "partial": False,
        "partial_arguments": None,
        "pinned": None,
        "pinned_at": None,
        "labels": None,
        "labelled_at": None,
        "instance": "7300000000000000001",
        "database": "app",
        "source": "/run/postgresql:5432",
        "format": "custom",
        "compression": "gzip",
        "compressor": "zlib",
        "encrypted": False,
        "encryption": None,
        "encryptor": None,
        "recipients": None,
        "created_at": "2026-02-28T12:00:00Z",
        "finished_at": "2026-02-28T12:00:00Z",
        "confirmed_at": "2026-02-28T12:00:00Z",
        "payload_bytes": 17,
        "payload_sha256": digest,
        "content_bytes": 17,
        "content_sha256": digest,
        "content_blake3": None,
        "content_hmac_sha256": None,
        "content_keyed_blake3": None,
        "content_key": None,
        "verification": {"level": "restore", "verdict": "passed", "verified_at": "2026-02-01T00:00:00Z", "detail": "42 tables"},
        "position": {"file": "bin.000042", "offset": 4711, "gtid": "0-1-977"},
    }


def test_a_time_is_written_in_utc() -> None:
    half_past = datetime(2026, 1, 31, 3, 32, 3, 999999, tzinfo=timezone(timedelta(hours=2, minutes=30)))
    assert format_time(half_past) == "2026-01-31T01:02:03Z"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"{",
        b"}",
        b"not json",
        b"null",
        b"true",
        b"1",
        b'"text"',
        b"[]",
        b'[{"manifest_version": 1}]',
        b'{"manifest_version": 1',
        b'{"manifest_version": 1}{"manifest_version": 1}',
        b"{'manifest_version': 1}",
        b"\x00" * 1000,
        b"\xff\xfe\x00",
        b'{"database": "caf\xe9"}',
        b'{"database": "\x00"}',
        b"\x1f\x8b\x08\x00garbage",
        b'{"payload_bytes": ' + b"9" * 5000 + b"}",
    ],
)
def test_garbage_has_nothing(data: bytes) -> None:
    assert from_bytes(data) == NO_MANIFEST
    assert not from_bytes(data).usable


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"verification":', b'{"verification":[', b'[{"a":'])
def test_deep_nesting_has_nothing(opening: bytes) -> None:
    assert from_bytes(opening * (LARGEST_MANIFEST // len(opening))) == NO_MANIFEST


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_no_bytes_raise_anything(data: bytes) -> None:
    assert not from_bytes(data).usable


@given(st.dictionaries(st.sampled_from(Manifest._fields) | st.text(max_size=10), any_json))
@example(dict.fromkeys(Manifest._fields))
@settings(deadline=None)
def test_no_json_raises_anything_and_every_field_has_its_type(values: dict[str, Any]) -> None:
    manifest = from_bytes(json.dumps(values).encode())
    for names, kind in ((TEXTS, str), (COUNTS, int), (FLAGS, bool), (TIMES, datetime), (DIGESTS, str)):
        assert all(type(getattr(manifest, name)) in (kind, type(None)) for name in names)
    assert type(manifest.verification) in (Verification, type(None))
    assert manifest.usable in (False, True)


@given(st.integers(0, len(ENOUGH.to_bytes()) - 1), st.integers(0, 255))
@settings(deadline=None)
def test_a_manifest_with_a_wrong_byte_raises_nothing(position: int, byte: int) -> None:
    data = bytearray(ENOUGH.to_bytes())
    data[position] = byte
    assert isinstance(from_bytes(bytes(data)), Manifest)


@given(st.integers(0, len(ENOUGH.to_bytes()) - 3))
@settings(deadline=None)
def test_a_manifest_that_was_cut_off_has_nothing(length: int) -> None:
    assert from_bytes(ENOUGH.to_bytes()[:length]) == NO_MANIFEST


def test_a_manifest_has_a_largest_size() -> None:
    room = LARGEST_MANIFEST - len(json.dumps(on_disk(padding="")).encode())
    assert read(padding="x" * room) == ENOUGH
    assert read(padding="x" * (room + 1)) == NO_MANIFEST
    assert read(padding="x" * 2**16) == NO_MANIFEST


def test_the_largest_manifest_that_we_may_write_can_be_read() -> None:
    path = "/" + "\u4e16" * (4094 // 3)  # as long as a path may be, and twice as long in JSON
    words = Verification("restore", "failed", datetime(2026, 2, 1, tzinfo=timezone.utc), "w" * 4000)
    labels = {f"{number:02}" + "k" * 61: "\u4e16" * 85 for number in range(MOST_LABELS)}
    manifest = manifest_of(
        source=path, instance=path, database="\u4e16" * 85, origin="o" * 255, verification=words, labels=labels
    )
    assert from_bytes(manifest.to_bytes()) == manifest


WRONG: dict[str, list[Any]] = {
    **{name: [1, 1.5, True, [], ["app"], {}, {"app": 1}, float("nan")] for name in TEXTS},
    **{name: [True, False, "1", 1.0, 1.5, [1], {}, float("nan"), float("inf"), float("-inf"), ""] for name in COUNTS},
    **{name: [0, 1, "true", "", [], {}, 1.0] for name in FLAGS},
    **{
        name: [
            1772366400,
            True,
            [],
            {},
            "",
            "now",
            "2026-02-28",
            "2026-02-28 12:00:00",
            "2026-02-28T12:00:00",
            "2026-02-28T12:00:00+00:00",
            "2026-02-28 12:00:00Z",
            "2026-02-28T12:00:00z",
            "2026-02-28t12:00:00Z",
            "2026-02-28T12:00:00.000Z",
            "2026-02-28T12:00Z",
            "20260228T120000Z",
            "2026-02-30T12:00:00Z",
            "2026-02-28T25:00:00Z",
            "2026-02-28T24:00:00Z",
            "2026-02-28T23:59:60Z",
            "0000-02-28T12:00:00Z",
            "2026-W09-6T12:00:00Z",  # Python reads these five from some version on
            "2026-02-28T120000.0Z",
            "2026-02-28T12:00,50Z",
            "2026-02-28T12:00.50Z",
            "2026-059T12:00:00.0Z",
            "\u0662\u0660\u0662\u0666-02-28T12:00:00Z",
            "2026-02-28T12:00:0\udc80Z",
            " 2026-2-28T12:00:00Z",
        ]
        for name in TIMES
    },
    **{name: ["", "0" * 63, "0" * 65, "g" * 64, "A" * 64, "0" * 64 + "\n", 0, [], {}, "\u0660" * 64] for name in DIGESTS},
    "labels": ["app", True, 1, [], ["app"], {"app": 1}, {"app": None, "b": "c"}, {"app": ["1"]}],
    "partial_arguments": ["-Taudit", True, 1, {}, [1], ["-Taudit", None]],
    "recipients": ["-Taudit", True, 1, {}, [1], ["-Taudit", None]],
    "verification": [
        "passed",
        True,
        [],
        {},
        {"level": "restore", "verdict": "passed"},
        {"level": "restore", "verdict": "passed", "verified_at": None},
        {"level": "restore", "verdict": "passed", "verified_at": "yesterday"},
        {"level": "restore", "verdict": "passed", "verified_at": 1},
        {"level": "deep", "verdict": "passed", "verified_at": "2026-02-01T00:00:00Z"},
        {"level": "restore", "verdict": "maybe", "verified_at": "2026-02-01T00:00:00Z"},
        {"level": ["restore"], "verdict": {"passed": 1}, "verified_at": ["2026-02-01T00:00:00Z"]},
        {"level": True, "verdict": 1, "verified_at": "2026-02-01T00:00:00Z"},
    ],
    "position": [
        "bin.000042",
        True,
        [],
        {},
        {"file": "b"},
        {"offset": 4},
        {"file": 1, "offset": 4},
        {"file": "b", "offset": "4"},
    ],
}


@pytest.mark.parametrize("name", Manifest._fields)
def test_a_field_of_another_type_is_not_there_and_the_others_are(name: str) -> None:
    for value in (None, *WRONG[name]):
        assert read(**{name: value}) == ENOUGH._replace(**{name: None}), value


@pytest.mark.parametrize("name", Manifest._fields)
def test_a_field_that_is_missing_is_not_there_and_the_others_are(name: str) -> None:
    values = on_disk()
    del values[name]
    assert from_bytes(json.dumps(values).encode()) == ENOUGH._replace(**{name: None})


def test_a_position_may_come_without_a_gtid() -> None:
    for gtid in ({}, {"gtid": None}, {"gtid": 1}):
        assert read(position={"file": "bin.000042", "offset": 4711, **gtid}).position == Position("bin.000042", 4711)


def test_a_verification_may_come_without_words() -> None:
    for detail in ({}, {"detail": None}, {"detail": 1}):
        values = {"level": "checksum", "verdict": "failed", "verified_at": "2026-02-01T00:00:00Z", **detail}
        found = read(verification=values).verification
        assert found == Verification("checksum", "failed", datetime(2026, 2, 1, tzinfo=timezone.utc), "")


def test_a_time_that_is_read_is_in_utc() -> None:
    created_at = read(created_at="2026-02-28T01:02:03Z").created_at
    assert created_at == datetime(2026, 2, 28, 1, 2, 3, tzinfo=timezone.utc)
    assert created_at.utcoffset() == timedelta(0)


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert read(splay=12, more={"deep": [1, 2]}, **{"": None}) == ENOUGH


@pytest.mark.parametrize("version", [0, 2, 100, -1])
def test_a_manifest_of_another_version_is_read_but_calls_nothing_good(version: int) -> None:
    manifest = read(manifest_version=version)
    assert manifest == ENOUGH._replace(manifest_version=version)
    assert not manifest.usable


def test_a_foreign_sidecar_is_read_for_what_it_has() -> None:
    manifest = from_bytes(b'{"database": "app", "engine": "mysql", "created_at": "last night", "size": 12, "sha256": "abc"}')
    assert manifest == Manifest(database="app", engine="mysql")
    assert not manifest.usable


@pytest.mark.parametrize("text", ['{"database": "one", "database": "two"}', '{"database": 1, "database": "two"}'])
def test_of_a_key_that_comes_twice_the_last_counts(text: str) -> None:
    assert from_bytes(text.encode()) == Manifest(database="two")


def test_a_manifest_with_what_tells_payload_and_group_is_usable() -> None:
    assert ENOUGH.usable
    assert ENOUGH._replace(**dict.fromkeys(set(Manifest._fields) - {*NEEDED, "database"})).usable


@pytest.mark.parametrize("name", NEEDED)
def test_a_manifest_that_lacks_any_of_these_is_not_usable(name: str) -> None:
    assert not ENOUGH._replace(**{name: None}).usable


def test_zero_and_nothing_are_values_too() -> None:
    assert ENOUGH._replace(payload_bytes=0, origin="", instance="").usable


@pytest.mark.parametrize("algorithm", ["blake3", "sha256", "keyed_blake3", "hmac_sha256"])
def test_a_digest_comes_back_with_its_algorithm(algorithm: str) -> None:
    digest = Digest(algorithm, "ab" * 32)
    changed = ENOUGH.with_content(5, digest)
    assert from_bytes(changed.to_bytes()).content_digest == digest
    assert [name for name in DIGESTS if name != "payload_sha256" and getattr(changed, name)] == [f"content_{algorithm}"]


@pytest.mark.parametrize(("size", "rounded"), [(0, 0), (1, 65536), (65537, 131072), (10**9 + 1, 1006632960)])
def test_the_size_of_an_encrypted_content_is_rounded(size: int, rounded: int) -> None:
    manifest = ENOUGH.with_content(size, Digest("keyed_blake3", "ab" * 32), "0123")
    assert (manifest.content_bytes, manifest.content_key) == (rounded, "0123")
    assert manifest.has_content_bytes(size)
    assert not manifest.has_content_bytes(2 * rounded + 1)
    assert ENOUGH.with_content(size, None).content_bytes == size


@given(st.integers(0, 2**50))
def test_a_rounded_size_is_at_most_a_sixteenth_or_64_kib_larger(size: int) -> None:
    rounded = ENOUGH.with_content(size, None, "0123").content_bytes
    assert rounded is not None and size <= rounded <= max(size + 65535, size * 17 // 16)

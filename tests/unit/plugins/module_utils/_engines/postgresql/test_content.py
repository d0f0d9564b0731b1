"""Which digest a dump has: the same as long as its data is the same, however the stream was cut."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from typing import Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.content import (
    CustomDigest,
    PlainDigest,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

Kind = Union[type[CustomDigest], type[PlainDigest]]


def digest_of(kind: Kind, content: bytes, cuts: Iterable[int] = ()) -> str:
    """Return the digest of a dump that comes in pieces, each of which is overwritten once it was taken in."""
    digest = kind(hashlib.sha256())
    places = [0, *sorted(cuts), len(content)]
    for start, end in zip(places, places[1:], strict=False):
        piece = bytearray(content[start:end])
        digest.update(memoryview(piece))
        piece[:] = b"\xaa" * len(piece)
    return digest.finish().value


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- Archives --------------------------------------------------------------------------------------------------

KNOWN = [(1, 14), (1, 15), (1, 16)]
each_known_version = pytest.mark.parametrize("version", KNOWN, ids=["1.14", "1.15", "1.16"])


def integer(value: int) -> bytes:
    """Return an integer as an archive has it: its sign, then 4 bytes from the lowest on."""
    return b"\1" * (value < 0) + b"\0" * (value >= 0) + struct.pack("<I", abs(value))


def archive(version: tuple[int, int], *, seconds: int = 0, year: int = 126, rest: bytes = b"the table of contents") -> bytes:
    """Return an archive, as ReadHead of pg_backup_archiver.c reads it, in the custom format."""
    head = b"PGDMP" + bytes([*version, 0, 4, 8, 1])  # revision, sizes of an integer and of an offset, format
    compression = integer(-1) if version < (1, 15) else b"\0"
    time = b"".join(map(integer, (seconds, 59, 23, 31, 11, year, -1)))
    return head + compression + time + integer(3) + b"app" + rest


@each_known_version
def test_the_creation_time_of_an_archive_does_not_count(version: tuple[int, int]) -> None:
    one, other = archive(version), archive(version, seconds=59, year=127)
    assert one != other
    assert digest_of(CustomDigest, one) == digest_of(CustomDigest, other)


@each_known_version
def test_every_byte_of_an_archive_but_those_of_its_creation_time_counts(version: tuple[int, int]) -> None:
    content = archive(version)
    whole = digest_of(CustomDigest, content)
    ignored = []
    for place in range(5, len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x40
        if digest_of(CustomDigest, bytes(changed)) == whole:
            ignored.append(place)
    first = 16 if version == (1, 14) else 12
    assert ignored == list(range(first, first + 7 * 5))


@pytest.mark.parametrize("version", [(1, 13), (1, 17), (2, 14), (0, 0)])
def test_every_byte_of_an_archive_of_an_unknown_version_counts(version: tuple[int, int]) -> None:
    content = archive(version)
    assert digest_of(CustomDigest, content) == sha256(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PGDMP",
        archive((1, 16))[:50],
        b"--\n-- PostgreSQL database dump\n--\n" * 5,
        bytes(1000),
        b"XGDMP" + archive((1, 16))[5:],
    ],
    ids=["nothing", "the magic alone", "cut in the header", "a plain dump", "zeros", "another magic"],
)
def test_what_is_no_archive_is_invalid(content: bytes) -> None:
    with pytest.raises(ContentInvalid, match="no archive") as caught:
        digest_of(CustomDigest, content)
    assert caught.value.code == "content_invalid"


@given(version=st.sampled_from([*KNOWN, (1, 17)]), rest=st.binary(max_size=200), cuts=st.lists(st.integers(0, 300), max_size=20))
@settings(deadline=None)
def test_it_does_not_matter_how_an_archive_was_cut(version: tuple[int, int], rest: bytes, cuts: list[int]) -> None:
    content = archive(version, rest=rest)
    cuts = [min(cut, len(content)) for cut in cuts]
    assert digest_of(CustomDigest, content, cuts) == digest_of(CustomDigest, content)


# --- Plain dumps -----------------------------------------------------------------------------------------------

KEY, OTHER_KEY = b"Mx6WnRrXMzhHnDb5gWcUMTz4", b"9Ssp4SKpdXVNwCsq3pV2q1Sl"
SMALL = b"CREATE TABLE t (n integer);\n"
LARGE = b"".join(b"%d\tsome row\n" % n for n in range(20_000))


def without_keys(body: bytes, *, cluster: bool = False) -> bytes:
    """Return a plain dump as those of before August 2025 are."""
    what = b"PostgreSQL database " + b"cluster " * cluster + b"dump"
    return b"--\n-- %b\n--\n\n%b\n--\n-- %b complete\n--\n\n" % (what, body, what)


def plain(body: bytes, key: bytes = KEY, *, cluster: bool = False) -> bytes:
    """Return a plain dump in psql's restricted mode, which pg_dump leaves after its last lines, pg_dumpall before them."""
    text = without_keys(body, cluster=cluster)
    begin = text.index(b"--\n\n") + 4
    end = text.rindex(b"--\n-- ") if cluster else len(text)
    return text[:begin] + b"\\restrict %b\n\n" % key + text[begin:end] + b"\\unrestrict %b\n\n" % key + text[end:]


each_size = pytest.mark.parametrize("body", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
each_form = pytest.mark.parametrize("cluster", [False, True], ids=["database", "cluster"])


@each_size
@each_form
def test_the_key_of_a_plain_dump_does_not_count(body: bytes, cluster: bool) -> None:
    one, other = plain(body, cluster=cluster), plain(body, OTHER_KEY, cluster=cluster)
    assert one != other
    assert digest_of(PlainDigest, one) == digest_of(PlainDigest, other)


@each_size
@each_form
def test_all_of_a_plain_dump_but_its_two_lines_with_the_key_counts(body: bytes, cluster: bool) -> None:
    content = plain(body, cluster=cluster)
    left = content.replace(b"\\restrict %b\n" % KEY, b"").replace(b"\\unrestrict %b\n" % KEY, b"")
    assert digest_of(PlainDigest, content) == sha256(left)


@each_size
@each_form
def test_all_of_a_plain_dump_without_a_key_counts(body: bytes, cluster: bool) -> None:
    content = without_keys(body, cluster=cluster)
    assert digest_of(PlainDigest, content) == sha256(content)


@pytest.mark.parametrize("make", [plain, without_keys], ids=["with a key", "without a key"])
@pytest.mark.parametrize("padding", [b"", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("word", [b"restrict", b"unrestrict"])
@pytest.mark.parametrize("at_the_end", [False, True], ids=["before", "after"])
def test_data_that_looks_like_such_a_line_counts(
    make: Callable[[bytes], bytes], padding: bytes, word: bytes, at_the_end: bool
) -> None:
    def body(token: bytes) -> bytes:
        line = b"\\%b %b\n" % (word, token)
        return padding + line if at_the_end else line + padding

    digests = {digest_of(PlainDigest, make(body(token))) for token in (b"one", b"two", KEY)}
    assert len(digests) == 3


def test_data_that_looks_like_both_lines_counts() -> None:
    # The real ones are the first and the last of the dump.
    bodies = [b"\\restrict %b\n%b\\unrestrict %b\n" % (token, SMALL, token) for token in (b"one", b"two", KEY)]
    assert len({digest_of(PlainDigest, plain(body)) for body in bodies}) == 3


def test_data_that_looks_like_a_dump_counts() -> None:
    bodies = [plain(SMALL, token) for token in (b"one", b"two")]
    assert len({digest_of(PlainDigest, without_keys(body)[:-2]) for body in bodies}) == 2


def test_data_with_the_dumps_own_key_loses_only_the_dumps_own_lines() -> None:
    body = b"\\restrict %b\n%b\\unrestrict %b\n" % (KEY, SMALL, KEY)
    assert digest_of(PlainDigest, plain(body)) == sha256(
        without_keys(body).replace(b"dump\n--\n\n", b"dump\n--\n\n\n", 1) + b"\n"
    )


def test_a_line_that_ends_the_restriction_with_another_key_counts() -> None:
    content = plain(SMALL)
    ends = [content.replace(b"\\unrestrict " + KEY, b"\\unrestrict " + other) for other in (b"one", b"two")]
    assert len({digest_of(PlainDigest, end) for end in (content, *ends)}) == 3


def test_a_key_that_is_nowhere_taken_back_counts() -> None:
    ends = [plain(SMALL, key).replace(b"\\unrestrict %b\n" % key, b"") for key in (KEY, OTHER_KEY)]
    assert len({digest_of(PlainDigest, end) for end in (plain(SMALL), *ends)}) == 3


@each_size
@pytest.mark.parametrize("make", [plain, without_keys], ids=["with a key", "without a key"])
def test_a_dump_without_its_last_lines_is_invalid(make: Callable[[bytes], bytes], body: bytes) -> None:
    content = make(body)
    end = content.rindex(b"complete")
    for cut in (0, 10, len(content) // 2, end - 100 if body is LARGE else end - 5, end, end + len(b"complet")):
        with pytest.raises(ContentInvalid, match="last lines are missing") as caught:
            digest_of(PlainDigest, content[:cut])
        assert caught.value.code == "content_invalid"


def test_a_dump_whose_data_speaks_of_its_end_is_not_taken_for_whole() -> None:
    content = plain(b"-- PostgreSQL database dump complete, says a row\nx-- PostgreSQL database dump complete\n")
    with pytest.raises(ContentInvalid):
        digest_of(PlainDigest, content[: content.rindex(b"complete")])


@given(
    body=st.sampled_from([b"", SMALL, SMALL * 20, LARGE[:4000], LARGE[:4096], LARGE[:9000]]),
    make=st.sampled_from([plain, without_keys]),
    cuts=st.lists(st.integers(0, 9500), max_size=30),
)
@settings(deadline=None)
def test_it_does_not_matter_how_a_plain_dump_was_cut(body: bytes, make: Callable[[bytes], bytes], cuts: list[int]) -> None:
    content = make(body)
    cuts = [min(cut, len(content)) for cut in cuts]
    assert digest_of(PlainDigest, content, cuts) == digest_of(PlainDigest, content)


@pytest.mark.parametrize("size", [1, 2, 7, 511, 512, 513, 4095, 4096, 4097])
def test_pieces_of_every_size_give_the_same_digest(size: int) -> None:
    content = plain(LARGE[:20_000])
    assert digest_of(PlainDigest, content, range(size, len(content), size)) == digest_of(PlainDigest, content)

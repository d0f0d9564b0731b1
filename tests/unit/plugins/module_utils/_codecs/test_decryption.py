"""What every decryption promises, in each way in which a host can do it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import BEGINNING_BYTES, Decoding, Identity
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import ENCRYPTIONS
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    IdentityWrong,
    KeyUnreadable,
    LibraryMissing,
    NoSpace,
    PassphraseWrong,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES
from ansible_collections.lastgood.database.tests.support.encryption_keys import (
    PASSPHRASE,
    KeyPair,
    age_encrypt,
    age_key,
    gpg_encrypt,
    gpg_key,
    ssh_key,
)

DATA = random.Random(7).randbytes(300_000)
AGE_CHUNK = 64 * 1024 + 16  # of ciphertext


class Way(NamedTuple):
    """How a host decrypts: what it lacks, or another way would come first, and the keys that tests use."""

    encryption: str
    lacks: tuple[str, ...]
    encrypt: Callable[..., bytes]
    key: Callable[..., KeyPair]


WAYS = {
    "pyrage": Way("age", (), age_encrypt, age_key),
    "age": Way("age", ("pyrage",), age_encrypt, age_key),
    "gpg": Way("gpg", (), gpg_encrypt, gpg_key),
}
every_way = pytest.mark.parametrize("way", WAYS, indirect=True)
age_ways = pytest.mark.parametrize("way", ["pyrage", "age"], indirect=True)


@pytest.fixture
def way(request: pytest.FixtureRequest, without_library: Callable[[str], None], nothing_left: None) -> Way:
    found = WAYS[request.param]
    for library in found.lacks:
        without_library(library)
    return found


@pytest.fixture
def decrypt(way: Way, runner: ModuleRunner, bounded: Callable[[Callable[[], Any]], Any]) -> Callable[..., bytes]:
    """Decrypt as an operation does, and return the output, which is collected in ``released`` too."""

    def do(encrypted: bytes, identity: Identity, released: bytearray) -> bytes:
        decoding: Decoding = ENCRYPTIONS[way.encryption].decoding(identity, runner)
        with decoding.decoding(released.extend) as decoder:
            for start in range(0, len(encrypted), CHUNK_BYTES):
                decoder.write(memoryview(encrypted)[start : start + CHUNK_BYTES])
            decoder.finish()
        return bytes(released)

    def decrypt_it(encrypted: bytes, identity: Identity, released: bytearray | None = None) -> bytes:
        return bytes(bounded(lambda: do(encrypted, identity, bytearray() if released is None else released)))

    return decrypt_it


def identity_of(key: KeyPair, passphrase: str | None = None) -> Identity:
    return Identity(text=key.secret, passphrase=passphrase)


@every_way
@pytest.mark.parametrize("size", [0, 1, BEGINNING_BYTES, 3_000_000])
def test_what_was_encrypted_comes_back(way: Way, decrypt: Callable[..., bytes], size: int) -> None:
    data = (DATA * 10)[:size]
    assert decrypt(way.encrypt(data, way.key()), identity_of(way.key())) == data


@every_way
def test_each_of_two_recipients_opens_it_and_is_named(way: Way, decrypt: Callable[..., bytes], runner: ModuleRunner) -> None:
    encrypted = way.encrypt(DATA, way.key(1), way.key(2))
    for number in (1, 2):
        key = way.key(number)
        assert decrypt(encrypted, identity_of(key)) == DATA
        assert ENCRYPTIONS[way.encryption].opened_by(identity_of(key), encrypted[:BEGINNING_BYTES], runner) == (key.id,)


@every_way
def test_of_several_keys_in_an_identity_those_that_open_it_are_named(
    way: Way, decrypt: Callable[..., bytes], runner: ModuleRunner
) -> None:
    encrypted = way.encrypt(DATA, way.key(1), way.key(3))
    identity = Identity(text="".join(way.key(number).secret for number in (2, 1, 3)))
    opened = ENCRYPTIONS[way.encryption].opened_by(identity, encrypted[:BEGINNING_BYTES], runner)
    assert sorted(opened) == sorted([way.key(1).id, way.key(3).id])
    assert decrypt(encrypted, identity) == DATA


@every_way
def test_another_identity_says_nothing_about_the_payload(way: Way, decrypt: Callable[..., bytes], runner: ModuleRunner) -> None:
    encrypted = way.encrypt(DATA, way.key(1))
    with pytest.raises(IdentityWrong) as caught:
        decrypt(encrypted, identity_of(way.key(2)))
    assert not isinstance(caught.value, ContentInvalid)
    assert way.key(2).secret not in str(caught.value)
    assert ENCRYPTIONS[way.encryption].opened_by(identity_of(way.key(2)), encrypted[:BEGINNING_BYTES], runner) == ()


@every_way
def test_an_identity_is_read_from_a_file(way: Way, decrypt: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "identity"
    path.touch(0o600)
    path.write_text(way.key().secret, encoding="utf-8")
    assert decrypt(way.encrypt(DATA, way.key()), Identity(file=str(path))) == DATA


@every_way
@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "empty", "garbage", "public"])
def test_what_is_no_identity_is_an_error_that_repeats_nothing(
    way: Way, decrypt: Callable[..., bytes], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "identity"
    make: dict[str, Callable[[], object]] = {
        "missing": lambda: None,
        "folder": path.mkdir,
        "pipe": lambda: subprocess.run(["mkfifo", str(path)], check=True),
        "empty": lambda: path.write_text("\n", encoding="utf-8"),
        "garbage": lambda: path.write_text("the secret of somebody\n", encoding="utf-8"),
        "public": lambda: path.write_text(way.key().public, encoding="utf-8"),
    }
    make[kind]()
    if path.is_file():
        path.chmod(0o600)
    with pytest.raises(KeyUnreadable) as caught:
        decrypt(way.encrypt(b"data", way.key()), Identity(file=str(path)))
    assert str(path) in str(caught.value)
    assert "secret of somebody" not in str(caught.value)


def places_in(way: Way, encrypted: bytes) -> list[int]:
    """Return where the encrypted stream is cut: at its ends, and at the boundaries of its header and of each chunk."""
    length = len(encrypted)
    if way.encryption == "gpg":
        return [0, 1, 50, *chunks_of_gpg(encrypted), length - 23, length - 1]
    begin = encrypted.index(b"\n", encrypted.index(b"\n--- ") + 1) + 1 + 16
    return [0, 1, begin - 17, begin - 1, *range(begin, length, AGE_CHUNK), length - 1]


def chunks_of_gpg(encrypted: bytes) -> list[int]:
    """Return where the packet of the session key ends, and each chunk of the packet of the data. See RFC 9580, 4.2."""
    place = 2 + encrypted[1]  # in the old format, with a length of one byte
    found = [place]
    place += 1
    while encrypted[place] >= 224:  # a partial length, which is a power of two
        place += 1 + (1 << (encrypted[place] & 31))
        found.append(place)
    return found


@every_way
def test_a_stream_that_was_cut_is_never_taken_for_whole(way: Way, decrypt: Callable[..., bytes]) -> None:
    encrypted = way.encrypt(DATA[:140_000], way.key())
    places = places_in(way, encrypted)
    assert len(places) >= 8
    for place in places:
        with pytest.raises(ContentInvalid):
            decrypt(encrypted[:place], identity_of(way.key()))
            pytest.fail(f"cut after {place} of {len(encrypted)} bytes")


@every_way
def test_a_flipped_bit_is_never_taken_for_the_data(way: Way, decrypt: Callable[..., bytes]) -> None:
    encrypted = way.encrypt(DATA, way.key())
    begin = 250 if way.encryption == "age" else 150  # behind the header
    for place in [*range(0, begin, 23), begin + 1000, len(encrypted) // 2, len(encrypted) - 25, len(encrypted) - 1]:
        broken = bytearray(encrypted)
        broken[place] ^= 0x10
        expected = ContentInvalid if place >= begin else BackupError  # a broken header may look like others' recipients
        try:
            decrypted = decrypt(bytes(broken), identity_of(way.key()))
        except expected:
            continue
        assert decrypted == DATA, place  # GnuPG's packet of a recipient has bytes of no meaning


@every_way
def test_what_follows_the_end_is_an_error(way: Way, decrypt: Callable[..., bytes]) -> None:
    encrypted = way.encrypt(DATA, way.key())
    for rest in (b"x", encrypted):
        with pytest.raises(ContentInvalid):
            decrypt(encrypted + rest, identity_of(way.key()))


@every_way
def test_a_stream_of_another_kind_is_broken(way: Way, decrypt: Callable[..., bytes]) -> None:
    with pytest.raises(ContentInvalid):
        decrypt(b"PGDMP" + DATA, identity_of(way.key()))


@every_way
def test_an_error_of_whoever_takes_the_output_comes_out_as_it_is(
    way: Way, runner: ModuleRunner, bounded: Callable[[Callable[[], Any]], Any]
) -> None:
    error = NoSpace("The disk is full.", "Make room.")

    def write(piece: bytes | memoryview) -> None:
        raise error

    def decrypt() -> None:
        decoding = ENCRYPTIONS[way.encryption].decoding(identity_of(way.key()), runner)
        with decoding.decoding(write) as decoder:
            decoder.write(memoryview(way.encrypt(DATA * 10, way.key())))
            decoder.finish()

    with pytest.raises(NoSpace) as caught:
        bounded(decrypt)
    assert caught.value is error


@every_way
def test_leaving_in_the_middle_ends_the_work(way: Way, runner: ModuleRunner) -> None:
    decoding = ENCRYPTIONS[way.encryption].decoding(identity_of(way.key()), runner)
    with pytest.raises(KeyError), decoding.decoding(lambda piece: None) as decoder:
        decoder.write(memoryview(way.encrypt(DATA, way.key()))[:200_000])
        raise KeyError


@age_ways
def test_a_key_of_ssh_opens_it(way: Way, decrypt: Callable[..., bytes], runner: ModuleRunner) -> None:
    encrypted = age_encrypt(DATA, ssh_key())
    assert decrypt(encrypted, identity_of(ssh_key())) == DATA
    assert ENCRYPTIONS["age"].opened_by(identity_of(ssh_key()), encrypted[:BEGINNING_BYTES], runner) == (ssh_key().id,)


@age_ways
def test_a_protected_key_of_ssh_is_refused_before_anybody_is_asked(way: Way, decrypt: Callable[..., bytes]) -> None:
    key = ssh_key(PASSPHRASE)
    with pytest.raises(PassphraseWrong) as caught:
        decrypt(age_encrypt(DATA, key), identity_of(key, PASSPHRASE))
    assert PASSPHRASE not in str(caught.value)


@pytest.fixture
def protected() -> str:
    """Return the identity as age protects it by a passphrase, which pyrage reads."""
    import pyrage

    return bytes(pyrage.passphrase.encrypt(age_key().secret.encode(), PASSPHRASE, armored=True)).decode()


@pytest.mark.parametrize("way", ["pyrage"], indirect=True)
def test_a_protected_identity_of_age_needs_its_passphrase(way: Way, decrypt: Callable[..., bytes], protected: str) -> None:
    encrypted = age_encrypt(DATA, age_key())
    assert decrypt(encrypted, Identity(text=protected, passphrase=PASSPHRASE)) == DATA
    for passphrase in (None, "another"):
        with pytest.raises(PassphraseWrong):
            decrypt(encrypted, Identity(text=protected, passphrase=passphrase))


@pytest.mark.parametrize("way", ["pyrage"], indirect=True)
def test_without_the_library_a_protected_identity_of_age_names_it(
    way: Way, decrypt: Callable[..., bytes], protected: str, without_library: Callable[[str], None]
) -> None:
    without_library("pyrage")
    with pytest.raises(LibraryMissing):
        decrypt(age_encrypt(DATA, age_key()), Identity(text=protected, passphrase=PASSPHRASE))


@pytest.mark.parametrize("way", ["gpg"], indirect=True)
def test_a_protected_key_of_gnupg_needs_its_passphrase(way: Way, decrypt: Callable[..., bytes]) -> None:
    key = gpg_key(9, PASSPHRASE)
    encrypted = gpg_encrypt(DATA, key)
    assert decrypt(encrypted, identity_of(key, PASSPHRASE)) == DATA
    for passphrase in (None, "another"):
        with pytest.raises(PassphraseWrong) as caught:
            decrypt(encrypted, identity_of(key, passphrase))
        assert "another" not in str(caught.value)


@pytest.mark.parametrize("way", ["gpg"], indirect=True)
def test_an_exit_status_of_0_is_no_proof_of_integrity(
    way: Way, decrypt: Callable[..., bytes], shell_program: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """case "$*" in *override-session-key*) for last; do :; done; cat "$last";; *) exec /usr/bin/gpg "$@";; esac"""
    bin_directory = Path(shell_program("gpg", script)).parent
    monkeypatch.setenv("PATH", f"{bin_directory}:/usr/bin:/bin")
    with pytest.raises(ContentInvalid, match="prove"):
        decrypt(gpg_encrypt(DATA, gpg_key()), identity_of(gpg_key()))

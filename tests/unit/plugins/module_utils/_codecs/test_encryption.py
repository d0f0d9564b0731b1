"""What every encryption promises of writing, in each way in which a host can do it. A new one joins by a line in ``WAYS``."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, EncryptionCodec, Recipients
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg import home
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import ENCRYPTIONS
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    NoSpace,
    ProgramMissing,
    RecipientInvalid,
)
from tests.support.encryption_keys import GpgKeys, KeyPair, age_key, gpg_keys, gpg_processes, ssh_key

Encode = Callable[[Codec, bytes], bytes]
Bounded = Callable[[Callable[[], Any]], Any]
Decrypt = Callable[[bytes], bytes]


class Way(NamedTuple):
    """How a host encrypts: the encryption, and what it lacks, or another way would come first."""

    encryption: str
    lacks: tuple[str, ...] = ()


WAYS = {"pyrage": Way("age"), "age": Way("age", ("pyrage",)), "gpg": Way("gpg")}
every_way = pytest.mark.parametrize("way", WAYS)


class Person(NamedTuple):
    """Somebody who can decrypt: the recipient, its id in manifests, and how they do it."""

    recipient: str
    id: str
    decrypt: Decrypt


class Keys(NamedTuple):
    """Two people's keys, and the file with public keys where the encryption needs one."""

    people: tuple[Person, Person]
    file: str | None

    def recipients(self, *numbers: int) -> Recipients:
        return Recipients(tuple(self.people[number].recipient for number in numbers), self.file)


@pytest.fixture(scope="module")
def pairs() -> tuple[KeyPair, ...]:
    return age_key(), ssh_key(), ssh_key(kind="rsa")


@pytest.fixture(scope="module")
def gpg() -> Iterator[GpgKeys]:
    with gpg_keys() as made:
        yield made


@pytest.fixture(scope="module")
def of_age(pairs: tuple[KeyPair, ...]) -> Keys:
    first, second, _third = pairs
    return Keys((Person(first.public, first.id, first.decrypt), Person(second.public, second.id, second.decrypt)), None)


@pytest.fixture(scope="module")
def of_gpg(gpg: GpgKeys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    file = tmp_path_factory.mktemp("keyring") / "public.gpg"
    file.write_bytes(gpg.public("first", "second"))
    first, second = gpg.fingerprint("first"), gpg.fingerprint("second")
    with gpg.alone("first") as one, gpg.alone("second") as other:
        yield Keys((Person(first, first, one.decrypt), Person(second, second, other.decrypt)), str(file))


@pytest.fixture
def keys(way: str, request: pytest.FixtureRequest) -> Keys:
    found: Keys = request.getfixturevalue(f"of_{WAYS[way].encryption}")
    return found


@pytest.fixture
def make(
    way: str, runner: ModuleRunner, without_library: Callable[[str], None], nothing_left: None
) -> Callable[[Recipients], EncryptionCodec]:
    for library in WAYS[way].lacks:
        without_library(library)
    return lambda recipients: ENCRYPTIONS[WAYS[way].encryption].codec(recipients, runner)


@pytest.fixture(autouse=True)
def left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See to it that neither a folder nor a daemon is left behind."""
    daemons = gpg_processes()
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t-") as place:  # a short path: it is for sockets, too
        monkeypatch.setattr(home, "temporary_directory", lambda: place)
        yield
        assert [name for name in os.listdir(place) if name.startswith("lg-")] == []
    assert gpg_processes() == daemons


Make = Callable[[Recipients], EncryptionCodec]


@every_way
def test_what_is_encrypted_is_decrypted_by_the_program_that_an_operator_has(
    make: Make, keys: Keys, content: bytes, encode: Encode, bounded: Bounded
) -> None:
    encrypted = bounded(lambda: encode(make(keys.recipients(0)), content))
    assert keys.people[0].decrypt(encrypted) == content
    with pytest.raises(subprocess.CalledProcessError):
        keys.people[1].decrypt(encrypted)


@every_way
def test_each_of_two_recipients_alone_opens_it(make: Make, keys: Keys, text: bytes, encode: Encode, bounded: Bounded) -> None:
    codec = make(keys.recipients(0, 1, 0))
    encrypted = bounded(lambda: encode(codec, text))
    assert [person.decrypt(encrypted) == text for person in keys.people] == [True, True]
    assert codec.recipients == tuple(sorted(person.id for person in keys.people))


@every_way
def test_equal_contents_give_other_bytes_and_a_codec_may_be_used_again(
    make: Make, keys: Keys, text: bytes, encode: Encode, bounded: Bounded
) -> None:
    codec = make(keys.recipients(0))
    first, second = (bounded(lambda: encode(codec, text)) for _time in range(2))
    assert first != second
    assert text[:100] not in first
    assert abs(len(first) - len(text)) < len(text) / 100  # nothing is compressed a second time


@every_way
def test_a_manifest_says_what_did_the_work(way: str, make: Make, keys: Keys) -> None:
    name, version = make(keys.recipients(0)).tool.split()
    assert name == way
    assert version[0].isdecimal()


@every_way
def test_an_error_of_whoever_writes_what_comes_out_comes_out_as_it_is(
    make: Make, keys: Keys, noise: bytes, bounded: Bounded
) -> None:
    error = NoSpace("The disk is full.", "Make room.")

    def write(piece: bytes | memoryview) -> None:
        raise error

    def encrypt() -> None:
        with make(keys.recipients(0)).encoding(write) as encoder:
            for _time in range(10):
                encoder.write(memoryview(noise))
            encoder.finish()

    with pytest.raises(NoSpace) as caught:
        bounded(encrypt)
    assert caught.value is error


@every_way
def test_leaving_without_an_end_writes_no_end(make: Make, keys: Keys, noise: bytes) -> None:
    part = bytearray()
    with pytest.raises(KeyError), make(keys.recipients(0)).encoding(part.extend) as encoder:
        encoder.write(memoryview(noise))
        raise KeyError
    with pytest.raises(subprocess.CalledProcessError):
        keys.people[0].decrypt(bytes(part))


@every_way
def test_no_recipient_is_an_error(make: Make) -> None:
    with pytest.raises(RecipientInvalid, match="No recipient"):
        make(Recipients())


@every_way
@pytest.mark.parametrize(("content", "words"), [(None, "can't be read: No such file"), (b" \n", "is empty")])
def test_a_file_that_does_not_help_is_an_error(make: Make, tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ArgumentInvalid, match=words):
        make(Recipients(file=str(file)))


@every_way
def test_a_host_without_a_program_is_an_error_with_the_package(
    way: str, make: Make, keys: Keys, without_library: Callable[[str], None], without_programs: None
) -> None:
    without_library("pyrage")
    with pytest.raises(ProgramMissing, match=r"the package (age|gnupg)"):
        make(keys.recipients(0))


# --- age ------------------------------------------------------------------------------------------------------------

AGE_WAYS = pytest.mark.parametrize("way", ["pyrage", "age"])


@AGE_WAYS
def test_ages_recipients_may_be_in_a_file_with_comments(
    make: Make, pairs: tuple[KeyPair, ...], tmp_path: Path, encode: Encode, bounded: Bounded
) -> None:
    file = tmp_path / "recipients"
    file.write_text("\n".join(["# ours", "", *(pair.public for pair in pairs)]), encoding="utf-8")
    codec = make(Recipients(file=str(file)))
    encrypted = bounded(lambda: encode(codec, b"some content"))
    assert len(codec.recipients) == 3
    assert [pair.decrypt(encrypted) for pair in pairs] == [b"some content"] * 3


# A key of age-keygen's whose last letter but one is another one, and keys of other kinds.
BROKEN = {
    "nothing": "",
    "a word": "somebody",
    "another checksum": "age1dhtj9g0e0qnc2w8kh9cmsgdu7n38neyrx0lr3lhzrx7qlgsr7d3s03pxq3",
    "cut": "age1dhtj9g0e0qnc2w8kh9cmsgdu7n38neyrx0lr3lhzrx7qlgsr7d3s03pxw",
    "a plugin's": "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
    "an SSH key that is cut": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH",
    "an SSH key with other words": "ssh-ed25519 notbase64!",
    "an SSH key of another kind inside": "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
    "a curve that age lacks": "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTY=",
}


@AGE_WAYS
@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_malformed_recipient_of_age_is_an_error_that_names_its_place(
    make: Make, pairs: tuple[KeyPair, ...], tmp_path: Path, text: str
) -> None:
    with pytest.raises(RecipientInvalid, match="Recipient 2") as caught:
        make(Recipients((pairs[0].public, text)))
    assert caught.value.code == "recipient_invalid"
    if text:
        (tmp_path / "file").write_text(f"# theirs\n{text}\n", encoding="utf-8")
        with pytest.raises(RecipientInvalid, match="Line 2 of"):
            make(Recipients(file=str(tmp_path / "file")))


@AGE_WAYS
def test_an_rsa_key_that_is_too_small_is_an_error(make: Make, tmp_path: Path) -> None:
    subprocess.run(("ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", str(tmp_path / "small")), check=True)
    with pytest.raises(RecipientInvalid, match="1024 bits"):
        make(Recipients(((tmp_path / "small.pub").read_text(encoding="utf-8"),)))


@AGE_WAYS
@pytest.mark.parametrize("number", [0, 1], ids=["age", "SSH"])
def test_a_private_key_is_refused_and_not_repeated(make: Make, pairs: tuple[KeyPair, ...], tmp_path: Path, number: int) -> None:
    (tmp_path / "identity").write_text(pairs[number].secret, encoding="utf-8")
    lines = pairs[number].secret.splitlines()
    secret = next(line for line in lines if not line.startswith(("#", "-")))
    text = secret if number == 0 else "\n".join(lines)
    for recipients in (Recipients((text,)), Recipients(file=str(tmp_path / "identity"))):
        with pytest.raises(RecipientInvalid, match="private key") as caught:
            make(recipients)
        assert secret not in str(caught.value)


# --- GnuPG ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def keyring(gpg: GpgKeys, tmp_path: Path) -> str:
    file = tmp_path / "keyring"
    file.write_bytes(gpg.public("first", "expired", "revoked", "signing"))
    return str(file)


@pytest.fixture
def way() -> str:
    return "gpg"


@pytest.mark.parametrize(
    ("name", "words"),
    [("expired", "has expired"), ("revoked", "is revoked"), ("signing", "no valid subkey"), ("second", "has no primary key")],
)
def test_a_key_of_gpg_that_is_of_no_use_is_an_error(gpg: GpgKeys, make: Make, keyring: str, name: str, words: str) -> None:
    with pytest.raises(RecipientInvalid, match=words) as caught:
        make(Recipients((gpg.fingerprint("first"), gpg.fingerprint(name)), keyring))
    assert gpg.fingerprint(name) in caught.value.problem


@pytest.mark.parametrize("text", ["first@example.org", "EBC176C88400997F", "--output", ""])
def test_anything_but_a_full_fingerprint_is_an_error(make: Make, keyring: str, text: str) -> None:
    with pytest.raises(RecipientInvalid, match="Recipient 1 is no full fingerprint"):
        make(Recipients((text,), keyring))


def test_a_keyring_alone_is_all_of_its_keys(gpg: GpgKeys, make: Make, tmp_path: Path, encode: Encode, bounded: Bounded) -> None:
    armored = tmp_path / "keys.asc"
    armored.write_bytes(gpg.gpg("--armor", "--export", gpg.fingerprint("first"), gpg.fingerprint("second")))
    codec = make(Recipients(file=str(armored)))
    assert codec.recipients == tuple(sorted((gpg.fingerprint("first"), gpg.fingerprint("second"))))
    with gpg.alone("second") as alone:
        assert alone.decrypt(bounded(lambda: encode(codec, b"some content"))) == b"some content"


def test_a_keyring_with_a_private_key_is_refused(gpg: GpgKeys, make: Make, tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes(gpg.private("first"))
    with pytest.raises(RecipientInvalid, match="has a private key"):
        make(Recipients((gpg.fingerprint("first"),), str(tmp_path / "private")))


def test_what_is_no_keyring_is_an_error(make: Make, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("Just words.\n", encoding="utf-8")
    with pytest.raises(RecipientInvalid, match="can't read"):
        make(Recipients(file=str(tmp_path / "words")))


def test_without_a_file_the_users_own_keyring_has_the_keys(
    gpg: GpgKeys, make: Make, monkeypatch: pytest.MonkeyPatch, encode: Encode, bounded: Bounded
) -> None:
    written = gpg.fingerprint("first"), f"{gpg.fingerprint('first')[:20]} {gpg.fingerprint('first')[20:].lower()}"
    monkeypatch.setenv("GNUPGHOME", str(gpg.home))
    codec = make(Recipients(written))
    assert codec.recipients == written[:1]
    assert gpg.decrypt(bounded(lambda: encode(codec, b"some content"))) == b"some content"
    with pytest.raises(RecipientInvalid, match="none of the keys"):
        make(Recipients(("A" * 40,)))


def test_a_user_without_a_keyring_gets_none(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GNUPGHOME", raising=False)
    with pytest.raises(RecipientInvalid, match="keyring can't be read"):
        make(Recipients(("A" * 40,)))
    assert list(tmp_path.iterdir()) == []

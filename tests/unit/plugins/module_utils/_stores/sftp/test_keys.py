"""Private keys of every kind, and what is none."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._errors import KeyUnreadable, PassphraseWrong
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.keys import read_key, read_key_file

PEM = serialization.Encoding.PEM
PASSPHRASE = "pass \N{SNOWMAN}"
KEYS = {
    "ssh-ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ecdsa-sha2-nistp256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-sha2-nistp521": ec.generate_private_key(ec.SECP521R1()),
    "ssh-rsa": rsa.generate_private_key(65537, 2048),
}
FORMS = {"openssh": serialization.PrivateFormat.OpenSSH, "pkcs8": serialization.PrivateFormat.PKCS8}


def written(kind: str, form: str, passphrase: str | None) -> bytes:
    lock = serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase.encode())
    return KEYS[kind].private_bytes(PEM, FORMS[form], lock)


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["open", "locked"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_is_read_with_whatever_space_is_around_it(kind: str, form: str, passphrase: str | None) -> None:
    data = written(kind, form, passphrase)
    for text in (data, data.strip(), b" \n  " + data + b"\n\n"):
        assert read_key(text, "private_key", passphrase).get_name() == kind


def test_a_key_that_does_not_exist_is_to_be_created_and_one_that_cannot_be_read_to_be_corrected(tmp_path: Path) -> None:
    with pytest.raises(KeyUnreadable, match=r"does not exist. Create it as the user who runs the task"):
        read_key_file(str(tmp_path / "missing"), None)
    with pytest.raises(KeyUnreadable, match=r"can't be read: Is a directory. Correct its owner and mode"):
        read_key_file(str(tmp_path), None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KEYS)
def test_a_locked_key_asks_for_its_passphrase_and_tells_a_wrong_one(kind: str, form: str) -> None:
    data = written(kind, form, PASSPHRASE)
    for passphrase, said in ((None, "needs a passphrase"), ("", "needs a passphrase"), ("wrong", "does not open")):
        with pytest.raises(PassphraseWrong, match=said) as caught:
            read_key(data, "private_key", passphrase)
        assert "wrong" not in str(caught.value)


def test_a_passphrase_that_is_not_needed_does_no_harm() -> None:
    assert read_key(written("ssh-ed25519", "openssh", None), "private_key", PASSPHRASE).get_name() == "ssh-ed25519"


def test_a_kind_that_is_not_supported_is_no_key() -> None:
    other = ed448.Ed448PrivateKey.generate().private_bytes(PEM, FORMS["pkcs8"], serialization.NoEncryption())
    with pytest.raises(KeyUnreadable, match="ed25519, ECDSA or RSA"):
        read_key(other, "private_key", None)


@given(st.binary(max_size=200), st.sampled_from([b"", b"OPENSSH ", b"RSA ", b"ENCRYPTED "]))
def test_whatever_a_text_is_a_key_or_a_clean_error_and_nothing_of_it_is_told(body: bytes, kind: bytes) -> None:
    secret = b"hunter2hunter2"
    data = b"-----BEGIN %sPRIVATE KEY-----\n%s%s\n-----END %sPRIVATE KEY-----" % (kind, secret, body, kind)
    with pytest.raises((KeyUnreadable, PassphraseWrong)) as caught:
        read_key(data, "private_key", "x")
    assert secret.decode() not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(KeyUnreadable, match=str(path)):
            read_key_file(str(path), None)

"""Hashes of passwords."""

import hashlib
from typing import Any

import pytest

from plugin.security import scrypt
from plugin.security.scrypt import Hash


def test_a_hash_knows_its_password_and_no_other() -> None:
    made = Hash.of("pässwörd 密码")
    assert made.matches("pässwörd 密码")
    assert not made.matches("pässwörd 密")
    assert Hash.from_json(made.to_json()) == made
    assert Hash.of("pässwörd 密码").salt != made.salt


def test_it_is_scrypt_with_the_parameters_that_it_names() -> None:
    made = Hash.of("secret")
    assert (made.n, made.r, made.p) == (2**15, 8, 3) == (scrypt.N, scrypt.R, scrypt.P)
    reference = hashlib.scrypt(b"secret", salt=made.salt, n=2**15, r=8, p=3, maxmem=2**26, dklen=32)
    assert made.value == reference
    assert (len(made.salt), len(made.value)) == (16, 32)


def test_older_parameters_still_match() -> None:
    salt = bytes(range(16))
    value = hashlib.scrypt(b"secret", salt=salt, n=1024, r=8, p=1, dklen=64)
    assert Hash(1024, 8, 1, salt, value).matches("secret")


GOOD: dict[str, Any] = Hash(1024, 8, 1, bytes(16), bytes(32)).to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "md5"},
        {"n": 1000},
        {"n": 1},
        {"n": -1024},
        {"n": 2**40},
        {"n": True},
        {"n": "1024"},
        {"r": 0},
        {"r": 2**30},
        {"p": 10_000},
        {"salt": "short"},
        {"salt": "ä"},
        {"salt": None},
        {"hash": ""},
        {"hash": "AAAA"},
    ],
)
def test_a_stored_hash_that_cannot_be_checked_is_refused(change: dict[str, Any]) -> None:
    Hash.from_json(GOOD)
    with pytest.raises(ValueError, match=r"scrypt|salt|base64|ASCII|padding|Incorrect"):
        Hash.from_json({**GOOD, **change})
    with pytest.raises(ValueError, match="not one of scrypt"):
        Hash.from_json([GOOD])

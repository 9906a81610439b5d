"""Salted scrypt hashes of passwords. A hash takes about a fifth of a second: never compute one on the event loop.

The parameters are one of the equivalent sets of OWASP's Password Storage Cheat Sheet (N=2^15, r=8, p=3: 32 MiB),
chosen because the memory of a machine with ComfyUI belongs to models.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

N, R, P = 2**15, 8, 3
_SALT_BYTES = 16
_HASH_BYTES = 32
_MOST_MEMORY = 256 * 2**20
_MOST_P = 16


def available() -> bool:
    """Whether this Python has scrypt; one that was built with LibreSSL lacks it."""
    return hasattr(hashlib, "scrypt")


@dataclass(frozen=True)
class Hash:
    """What is stored of a password: it can be checked against, and not be turned back."""

    n: int
    r: int
    p: int
    salt: bytes
    value: bytes

    @classmethod
    def of(cls, password: str) -> Hash:
        """Hash a password with a new salt. Slow on purpose."""
        salt = secrets.token_bytes(_SALT_BYTES)
        return cls(N, R, P, salt, _scrypt(password, salt, N, R, P, _HASH_BYTES))

    def matches(self, password: str) -> bool:
        """Whether it is the hash of this password, in a time that tells nothing. Slow on purpose."""
        value = _scrypt(password, self.salt, self.n, self.r, self.p, len(self.value))
        return hmac.compare_digest(value, self.value)

    def to_json(self) -> dict[str, Any]:
        """The form in which it is stored."""
        salt, value = (base64.b64encode(part).decode() for part in (self.salt, self.value))
        return {"algorithm": "scrypt", "n": self.n, "r": self.r, "p": self.p, "salt": salt, "hash": value}

    @classmethod
    def from_json(cls, stored: Any) -> Hash:
        """Read the stored form.

        Raises:
            ValueError: it is none, or asks for more memory or time than a password may cost.
        """
        if not isinstance(stored, Mapping) or stored.get("algorithm") != "scrypt":
            raise ValueError("the password's hash is not one of scrypt")
        n, r, p = (_positive(stored.get(name)) for name in "nrp")
        if n < 2 or n & (n - 1):
            raise ValueError("the parameters of scrypt are wrong")
        if 128 * n * r > _MOST_MEMORY or p > _MOST_P:
            raise ValueError("the parameters of scrypt are too large")
        salt, value = (_bytes(stored.get(name)) for name in ("salt", "hash"))
        if len(salt) < _SALT_BYTES or len(value) < _HASH_BYTES:
            raise ValueError("salt or hash is too short")
        return cls(n, r, p, salt, value)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    content = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(content, salt=salt, n=n, r=r, p=p, maxmem=128 * r * (n + p + 2) + 2**20, dklen=length)


def _positive(number: Any) -> int:
    if type(number) is not int or number < 1:
        raise ValueError("the parameters of scrypt are wrong")
    return number


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("salt or hash is missing")
    return base64.b64decode(text, validate=True)

"""Identifiers and tokens."""

import hashlib
import secrets
from datetime import datetime
from uuid import UUID

import uuid_utils.compat as uuid_utils

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_id() -> UUID:
    """Return a UUIDv7: unique, and in order of time (docs/api.md, "Conventions")."""
    return uuid_utils.uuid7()


def smallest_id(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of a moment: its first 48 bits are milliseconds since 1970 (RFC 9562)."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def new_token(prefix: str, length: int = 40) -> str:
    """Return `prefix` and `length` random characters of `[a-z0-9]` (docs/security.md, "Keys and tokens")."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(length))


def token_hash(token: str) -> bytes:
    """Return what the database keeps of a token. Tokens are random and long, so one SHA-256 is enough."""
    return hashlib.sha256(token.encode()).digest()

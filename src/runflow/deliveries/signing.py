"""Signatures that let a receiver know that a message is ours and unchanged. Pure.

Two schemes side by side (docs/api/callbacks.md, "Check a signature"): `Runflow-Signature` and the Standard Webhooks
headers (https://www.standardwebhooks.com), which any of its verifiers understands.
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

PREFIX = "whsec_"
SECRET_BYTES = 32
"""Of a secret that we make."""
ACCEPTED_BYTES = range(24, 65)
"""Of a secret that was made elsewhere: what Standard Webhooks asks for."""


class InvalidSecret(ValueError):
    """A signing secret is `whsec_` followed by base64."""


def new_secret() -> str:
    """Return a fresh signing secret."""
    return PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def checked_secret(text: str) -> str:
    """Return `text` if it is a signing secret. Raises `InvalidSecret`, whose message does not repeat it."""
    try:
        found = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError:
        found = b""
    if not text.startswith(PREFIX) or len(found) not in ACCEPTED_BYTES:
        raise InvalidSecret("must be whsec_ and the base64 of 24 to 64 bytes, as of `openssl rand -base64 32`")
    return text


def fingerprint(secret: str) -> str:
    """Return what a secret may be recognised by: the first 16 hex digits of the SHA-256 of its text."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """An enabled secret: `whsec_` and base64; `id` is that of its row. Its text never shows in a representation."""

    id: UUID
    plain: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unsendable:
    """Why a message cannot be sent at all now; `is_final`: nor ever."""

    message: str
    is_final: bool


def delivery_headers(
    delivery_id: UUID, body: bytes, secrets: Sequence[SigningSecret], timestamp: int, request_id: str | None
) -> dict[str, str]:
    """Return the headers of one attempt at a delivery; `timestamp` in Unix seconds, the attempt's own.

    `webhook-id` is the delivery's id, the same at every attempt, by which a receiver recognises a duplicate. Without
    secrets there are no signatures. Raises `InvalidSecret`.
    """
    headers = {
        "Content-Type": "application/json",
        "webhook-id": str(delivery_id),
        "webhook-timestamp": str(timestamp),
    }
    if request_id is not None:
        headers["Runflow-Request-Id"] = request_id
    if secrets:
        headers["Runflow-Signature"] = runflow_signature(secrets[0].plain, body)
        headers["webhook-signature"] = " ".join(
            standard_signature(secret.plain, str(delivery_id), timestamp, body) for secret in secrets
        )
    return headers


def runflow_signature(secret: str, body: bytes) -> str:
    """Return the lower-case hex HMAC-SHA256 of the raw body; the key is the secret's plain text, prefix included."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def standard_signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return `v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`; the key is what the secret's base64 encodes.

    Raises `InvalidSecret`.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise InvalidSecret("A signing secret is whsec_ followed by base64, and this one is not.") from error
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()

"""Checking what a server sends to a `callback_url` or webhook (docs/api/callbacks.md, "Check a signature")."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping

from runflow.client.errors import SignatureMismatch
from runflow.client.records import WebhookEvent

TOLERANCE = 300.0
"""Seconds by which the clocks of sender and receiver may differ, and a message may have travelled."""

PREFIX = "whsec_"
STANDARD = ("webhook-id", "webhook-timestamp", "webhook-signature")
OWN = "runflow-signature"


def verify(
    payload: bytes | str,
    headers: Mapping[str, str],
    secret: str | Iterable[str],
    *,
    tolerance: float = TOLERANCE,
    standard_only: bool = False,
) -> WebhookEvent:
    """Return the event of a message that is really the server's.

    `payload` is the body as it came, not parsed and written again; `headers` those of the request, in any case;
    `secret` the text `whsec_…`, or several while one is replaced. The Standard Webhooks headers are checked, with the
    time of sending; a message that has none of them is checked by `Runflow-Signature`, which covers the body alone, so
    that an old message could be sent again: `standard_only` refuses it. Raises `SignatureMismatch`.
    """
    body = payload.encode() if isinstance(payload, str) else bytes(payload)
    given = {name.lower(): value for name, value in headers.items()}
    secrets = [secret] if isinstance(secret, str) else list(secret)
    if not secrets or not all(secrets):
        raise SignatureMismatch("There is no secret to check with. Give the callback secret, whsec_…")
    if standard_only or any(name in given for name in STANDARD):
        _check_standard(body, given, secrets, tolerance)
    else:
        _check_own(body, given, secrets)
    try:
        found = json.loads(body)
    except ValueError:
        raise SignatureMismatch("The message is signed, but is no JSON.") from None
    return WebhookEvent(found)


def _check_standard(body: bytes, headers: Mapping[str, str], secrets: list[str], tolerance: float) -> None:
    missing = [name for name in STANDARD if not headers.get(name)]
    if missing:
        raise SignatureMismatch(f"The message has no {missing[0]}. Hand over the headers of the request, all of them.")
    message_id, sent, signatures = (headers[name] for name in STANDARD)
    try:
        age = time.time() - int(sent)
    except ValueError:
        raise SignatureMismatch("webhook-timestamp is no number.") from None
    if abs(age) > tolerance:
        raise SignatureMismatch(
            f"The message is from {abs(age):.0f} s {'ago' if age > 0 else 'ahead'}; at most {tolerance:.0f} s are "
            "accepted. If it is new, look at the clock of this machine."
        )
    signed = f"{message_id}.{sent}.".encode() + body
    offered = [one.removeprefix("v1,") for one in signatures.split() if one.startswith("v1,")]
    expected = [base64.b64encode(_hmac(_key(one), signed)).decode() for one in secrets]
    _one_of(expected, offered)


def _check_own(body: bytes, headers: Mapping[str, str], secrets: list[str]) -> None:
    offered = headers.get(OWN)
    if not offered:
        raise SignatureMismatch(
            "The message is not signed. Callbacks are, once there is a callback secret: POST /v1/callback-secrets."
        )
    _one_of([_hmac(one.encode(), body).hex() for one in secrets], [offered.strip().lower()])


def _one_of(expected: list[str], offered: list[str]) -> None:
    """Compare each with each, in constant time for each."""
    matches = [hmac.compare_digest(one.encode(), other.encode()) for one in expected for other in offered]
    if not any(matches):
        raise SignatureMismatch(
            "The signature fits none of the secrets. Check the body as it came, byte by byte, and that the secret is "
            "that of this callback or webhook."
        )


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:  # binascii.Error is one; characters that base64 has never are another
        raise SignatureMismatch("The secret is not of the form whsec_ and base64.") from None

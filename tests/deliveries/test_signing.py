import base64
import hashlib
import hmac
import os
from uuid import UUID

import pytest

from runflow.deliveries.signing import (
    InvalidSecret,
    SigningSecret,
    delivery_headers,
    runflow_signature,
    standard_signature,
)
from runflow.ids import new_id

DELIVERY = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def test_runflow_signature_is_plain_hmac_sha256() -> None:
    # RFC 4231, test case 2.
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert runflow_signature("Jefe", b"what do ya want for nothing?") == expected


def test_standard_signature_is_the_one_of_the_specification() -> None:
    # The example that the reference implementations of Standard Webhooks are tested with.
    signature = standard_signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def _secret() -> SigningSecret:
    return SigningSecret(new_id(), "whsec_" + base64.b64encode(os.urandom(32)).decode())


def test_headers_hold_one_standard_signature_per_secret_and_that_of_the_current_one() -> None:
    current, old = _secret(), _secret()
    headers = delivery_headers(DELIVERY, b'{"a":1}', [current, old], 1700000000, "req-1")
    assert headers["Runflow-Request-Id"] == "req-1"
    assert headers["webhook-id"] == str(DELIVERY)
    assert headers["webhook-timestamp"] == "1700000000"
    # What a receiver does: the key is the text that it was shown once, the message the raw body.
    key = current.plain.encode()
    assert headers["Runflow-Signature"] == hmac.new(key, b'{"a":1}', hashlib.sha256).hexdigest()
    signed = f"{DELIVERY}.1700000000.".encode() + b'{"a":1}'
    expected = []
    for secret in (current, old):
        raw = hmac.new(base64.b64decode(secret.plain[6:]), signed, hashlib.sha256).digest()
        expected.append("v1," + base64.b64encode(raw).decode())
    assert headers["webhook-signature"].split(" ") == expected


def test_without_secrets_nothing_is_signed() -> None:
    headers = delivery_headers(DELIVERY, b"{}", [], 1700000000, None)
    assert headers == {
        "Content-Type": "application/json",
        "webhook-id": str(DELIVERY),
        "webhook-timestamp": "1700000000",
    }


@pytest.mark.parametrize("plain", ["whsec_not base64", "whsec_abc"])
def test_a_secret_that_is_none(plain: str) -> None:
    with pytest.raises(InvalidSecret) as caught:
        standard_signature(plain, "id", 1, b"")
    assert plain not in str(caught.value)


def test_a_secret_does_not_show() -> None:
    secret = _secret()
    assert secret.plain not in repr(secret)

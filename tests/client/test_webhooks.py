"""Messages of the real signer, and what an attacker makes of them."""

import time

import pytest
from standardwebhooks import Webhook

from runflow.client import SignatureMismatch, webhooks
from runflow.deliveries.signing import new_secret, runflow_signature, standard_signature

BODY = b'{"event": "run.completed", "run_id": "a", "status": "succeeded", "client_ref": "t-1", "new": true}'
SECRET = new_secret()


def headers(secret: str = SECRET, *, sent: float | None = None, body: bytes = BODY) -> dict[str, str]:
    at = int(time.time() if sent is None else sent)
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(at),
        "Webhook-Signature": standard_signature(secret, "msg_1", at, body),
        "Runflow-Signature": runflow_signature(secret, body),
    }


def test_a_message_of_the_server_is_read() -> None:
    event = webhooks.verify(BODY, headers(), SECRET)
    assert (event.event, event.run_id, event.status, event.client_ref) == ("run.completed", "a", "succeeded", "t-1")
    assert event["new"] is True
    assert webhooks.verify(BODY.decode(), headers(), SECRET) == event
    assert Webhook(SECRET).verify(BODY, {name.lower(): value for name, value in headers().items()}) == event


def test_several_secrets_and_several_signatures_fit_if_one_of_them_does() -> None:
    other = new_secret()
    both = headers()
    both["Webhook-Signature"] = "v1,bm9uZQ== v1a,x " + both["Webhook-Signature"]
    assert webhooks.verify(BODY, both, [other, SECRET]).run_id == "a"
    with pytest.raises(SignatureMismatch):
        webhooks.verify(BODY, both, other)


def test_the_older_signature_is_enough_where_it_is_the_only_one() -> None:
    alone = {"runflow-signature": runflow_signature(SECRET, BODY)}
    assert webhooks.verify(BODY, alone, [new_secret(), SECRET]).run_id == "a"
    with pytest.raises(SignatureMismatch, match="webhook-id"):
        webhooks.verify(BODY, alone, SECRET, standard_only=True)


@pytest.mark.parametrize(
    ("changed", "body", "said"),
    [
        ({}, BODY + b" ", "fits none"),
        ({"Webhook-Id": "msg_2"}, BODY, "fits none"),
        ({"Webhook-Signature": "v1,"}, BODY, "fits none"),
        ({"Webhook-Signature": "v1,ü"}, BODY, "fits none"),
        ({"Webhook-Signature": ""}, BODY, "webhook-signature"),
        ({"Webhook-Timestamp": "soon"}, BODY, "no number"),
    ],
)
def test_what_was_altered_is_refused(changed: dict[str, str], body: bytes, said: str) -> None:
    with pytest.raises(SignatureMismatch, match=said):
        webhooks.verify(body, headers() | changed, SECRET)


def test_the_old_and_the_unsigned_are_refused() -> None:
    for sent in (time.time() - 400, time.time() + 400):
        with pytest.raises(SignatureMismatch, match="at most 300 s"):
            webhooks.verify(BODY, headers(sent=sent), SECRET)
        assert webhooks.verify(BODY, headers(sent=sent), SECRET, tolerance=500).run_id == "a"
    with pytest.raises(SignatureMismatch, match="not signed"):
        webhooks.verify(BODY, {}, SECRET)
    with pytest.raises(SignatureMismatch, match="fits none"):
        webhooks.verify(BODY, {"Runflow-Signature": "0" * 64}, SECRET)
    secrets: list[str | list[str]] = ["", []]
    for nothing in secrets:
        with pytest.raises(SignatureMismatch, match="no secret"):
            webhooks.verify(BODY, headers(), nothing)
    for wrong in ("whsec_not base64", "whsec_ü", "whsec_…"):
        with pytest.raises(SignatureMismatch, match="whsec_"):
            webhooks.verify(BODY, headers(), wrong)
    with pytest.raises(SignatureMismatch, match="no JSON"):
        webhooks.verify(b"x", headers(body=b"x"), SECRET)
    assert issubclass(SignatureMismatch, ValueError)

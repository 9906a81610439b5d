"""What pages of other origins may do."""

import httpx

from runflow.web.cors import ALLOWED_HEADERS, METHODS

PREFLIGHT = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}


async def test_a_preflight_needs_no_key_and_names_what_is_allowed(anonymous: httpx.AsyncClient) -> None:
    asked = {**PREFLIGHT, "Access-Control-Request-Headers": "authorization,idempotency-key"}
    answer = await anonymous.options("/v1/comfyui-workflows", headers=asked)
    assert answer.status_code == 200
    assert {name.strip() for name in answer.headers["Access-Control-Allow-Methods"].split(",")} == set(METHODS)
    allowed = {name.strip() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert set(ALLOWED_HEADERS) <= allowed


async def test_a_refused_preflight_has_the_envelope_and_says_what_is_allowed(anonymous: httpx.AsyncClient) -> None:
    asked = {**PREFLIGHT, "Access-Control-Request-Headers": "x-api-key"}
    answer = await anonymous.options("/v1/comfyui-workflows", headers=asked)
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert "x-api-key" in answer.json()["message"] and "Authorization" in answer.json()["message"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_monitors_may_ask_with_head(anonymous: httpx.AsyncClient) -> None:
    for path in ("/v1/health", "/v1/readiness"):
        answer = await anonymous.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path

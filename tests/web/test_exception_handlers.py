"""One envelope for every way to fail, with CORS and the request id on it."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.background import Background
from runflow.web.services import Services
from tests.support.application import open_client

ORIGIN = {"Origin": "http://127.0.0.1:8188"}


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "NOT_FOUND"),
        ("GET", "/v1/nowhere", {}, 404, "NOT_FOUND"),
        ("PUT", "/v1/health", {}, 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/comfyui-workflows?limit=0", {}, 422, "VALIDATION_ERROR"),
        ("GET", "/v1/comfyui-workflows?limit=501", {}, 422, "VALIDATION_ERROR"),
        ("GET", "/v1/comfyui-workflows?q=name:(", {}, 400, "INVALID_FILTER"),
        ("GET", "/v1/comfyui-workflows?sort_by=nothing:asc", {}, 400, "INVALID_SORT"),
        ("GET", "/v1/comfyui-workflows?pq=garbage", {}, 400, "INVALID_CURSOR"),
        ("GET", "/v1/comfyui-workflows?fields=nothing", {}, 400, "INVALID_FIELD"),
        ("GET", "/v1/comfyui-workflows?embed=nothing", {}, 400, "INVALID_FIELD"),
        ("GET", "/v1/runs/not-a-uuid", {}, 422, "VALIDATION_ERROR"),
        ("GET", "/v1/runs/0197f3a0-0000-7000-8000-000000000000", {}, 404, "RUN_NOT_FOUND"),
        ("POST", "/v1/asset-uploads", {"content": b"{"}, 400, "INVALID_JSON"),
        ("POST", "/v1/asset-uploads", {"content": b"\xff\xfe"}, 400, "INVALID_JSON"),
    ],
)
async def test_errors_have_one_shape(
    client: httpx.AsyncClient, method: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    headers = {**ORIGIN, "Content-Type": "application/json"}
    answer = await client.request(method, path, headers=headers, **options)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert set(answer.json()) == {"code", "message", "errors"}
    assert answer.json()["message"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    UUID(answer.headers["Runflow-Request-Id"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/comfyui-workflows", {"GET", "POST"}),
        ("POST", "/v1/webhooks/0197f3a0-0000-7000-8000-000000000000", {"GET", "PATCH", "DELETE"}),
        ("PATCH", "/v1/storage/a/b", {"GET", "HEAD", "PUT"}),
        ("GET", "/v1/worker/leases", {"POST"}),
    ],
)
async def test_a_wrong_method_is_told_every_right_one(
    client: httpx.AsyncClient, method: str, path: str, allowed: set[str]
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert set(answer.headers["Allow"].split(", ")) == allowed


async def test_a_rule_of_ours_is_told_in_its_own_words(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/webhooks", json={"url": "https://receiver.example", "secret": "short"})
    rule = "must be whsec_ and the base64 of 24 to 64 bytes, as of `openssl rand -base64 32`"
    assert answer.json()["message"] == f"body.secret: {rule}"
    assert answer.json()["errors"] == [{"loc": ["body", "secret"], "msg": rule, "type": "value_error"}]


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(client: httpx.AsyncClient) -> None:
    headers = {"Content-Length": str(10**12), "Content-Type": "application/json"}
    answer = await client.post("/v1/comfyui-workflows", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_an_unexpected_exception_is_an_envelope_without_a_trace(
    services: Services, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr("runflow.runs.service.queries.by_id", broken)
    answer = await client.get("/v1/runs/0197f3a0-0000-7000-8000-000000000000", headers=ORIGIN)
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert "secret" not in answer.text
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer rf_live_" + "a" * 40, "bearer é"])
async def test_a_bad_token_is_a_401_with_cors(services: Services, header: str) -> None:
    async with open_client(services, None) as anonymous:
        headers = {**ORIGIN, **({"Authorization": header.encode()} if header else {})}
        answer = await anonymous.get("/v1/comfyui-workflows", headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_another_organization_s_header_is_refused_and_one_s_own_is_fine(client: httpx.AsyncClient) -> None:
    other = {"X-Organization-Id": "0197f3a0-0000-7000-8000-000000000000"}
    answer = await client.get("/v1/comfyui-workflows", headers=other)
    assert (answer.status_code, answer.json()["code"]) == (403, "ORGANIZATION_MEMBERSHIP_REQUIRED")
    own = (await client.get("/v1/api-keys")).json()["items"][0]["org_id"]
    assert (await client.get("/v1/comfyui-workflows", headers={"X-Organization-Id": own})).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
async def test_preflights_need_no_key(anonymous: httpx.AsyncClient, method: str) -> None:
    headers = {
        **ORIGIN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = await anonymous.options("/v1/comfyui-workflows", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert method in answer.headers["Access-Control-Allow-Methods"]
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in allowed and "content-type" in allowed
    assert answer.headers["Access-Control-Max-Age"] == "600"


async def test_health_and_readiness(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/v1/health")).json()["status"] == "ok"
    assert (await anonymous.get("/v1/health")).json()["ok"] is True
    assert (await anonymous.get("/v1/readiness")).status_code == 200


async def test_a_server_whose_sweeper_stands_still_is_not_ready(
    anonymous: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    background = Background()
    beat = background.watch("sweeper", 30)
    monkeypatch.setattr(services, "background", background)
    background.awake += 31
    answer = await anonymous.get("/v1/readiness")
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert "sweeper" in answer.json()["message"]
    beat()
    assert (await anonymous.get("/v1/readiness")).json()["background"] == "ok"


async def test_a_running_server_watches_its_sweeper_and_its_outbox(services: Services) -> None:
    assert {"sweeper", "outbox"} <= set(services.background.watched)


async def test_the_openapi_document_describes_every_route(anonymous: httpx.AsyncClient) -> None:
    document = (await anonymous.get("/v1/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    assert "/v1/comfyui-workflows/{owner}/{slug}/runs" in document["paths"]
    dispatch = document["paths"]["/v1/comfyui-workflows/{owner}/{slug}/runs"]["post"]
    assert "`runs:create`" in dispatch["description"]
    assert dispatch["responses"]["default"]["content"]["application/json"]["schema"]["$ref"].endswith("/Error")


async def test_a_wrong_method_and_a_slash_too_many_are_told_in_the_message(client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/comfyui-workflows")
    assert answer.json()["message"] == "This address takes GET, POST, not PUT."
    answer = await client.post("/v1/comfyui-workflows/", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert answer.json()["message"] == "There is nothing at this address. You may mean `/v1/comfyui-workflows`."


async def test_the_message_tells_the_first_three_faults(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/comfyui-workflows", json={"slug": 1, "is_public": 2, "gpu_mode": "best"})
    told = [".".join(error["loc"]) in answer.json()["message"] for error in answer.json()["errors"]]
    assert told == [True, True, True, False, False]
    assert answer.json()["message"].endswith("(and 2 more)")


@pytest.mark.parametrize(("sent", "rule"), [("2030-01-01", "time zone"), ("soon", "ISO 8601"), (["x"], "ISO 8601")])
async def test_a_time_that_is_none_is_told_by_an_example(client: httpx.AsyncClient, sent: object, rule: str) -> None:
    answer = await client.post("/v1/api-keys", json={"name": "a", "expires_at": sent})
    assert answer.status_code == 422
    message = answer.json()["message"]
    assert message.startswith("body.expires_at: Must ") and rule in message and "2026-01-31T10:00:00+00:00" in message

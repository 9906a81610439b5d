"""What is tried again, with which key, and what is not."""

import asyncio
import itertools
import json
import time

import httpx
import pytest

from runflow.client import (
    AsyncRunflow,
    InvalidRequest,
    NotConfigured,
    PermissionDenied,
    RateLimited,
    Runflow,
    RunflowUnreachable,
    RunTimeout,
    ServerFault,
    Unavailable,
)
from runflow.client import exchange as subject
from tests.support.platform_fixtures import free_port
from tests.support.scripted import CUT, Reply, scripted
from tests.support.waiting import until

RUN = {"id": "a", "status_code": "succeeded", "is_terminal": True}
GOING_ON = {"id": "a", "status_code": "running", "is_terminal": False}
REFUSED = {"code": "VALIDATION_ERROR", "message": "No.", "errors": [{"loc": ["body", "x"], "msg": "No.", "type": "y"}]}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(subject, "LONGEST_PAUSE", 0.01)


@pytest.mark.parametrize(
    "trouble",
    [
        CUT,
        Reply(502, b"<html>bad gateway</html>"),
        Reply(503, {"code": "UNAVAILABLE", "message": "Soon."}),
        Reply(504, b""),
        Reply(429, {"code": "RATE_LIMITED", "message": "Slowly."}, {"Retry-After": "0"}),
        Reply(409, {"code": "CONFLICT", "message": "The first one still runs."}, {"Retry-After": "0"}),
        Reply(200, b'{"id": ', cut_off=True, headers={"Content-Length": "99"}),
    ],
    ids=["cut", "502", "503", "504", "429", "409", "half"],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_passes_by_itself_is_tried_again_with_one_key(trouble: Reply | str, kind: str) -> None:
    with scripted(trouble, trouble, Reply(201, RUN)) as server:
        if kind == "sync":
            with Runflow(server.url, "rf_live_x") as api:
                run = api.submit("default/portrait", {"prompt": "x"})
        else:
            async with AsyncRunflow(server.url, "rf_live_x") as awaited:
                run = await awaited.submit("default/portrait", {"prompt": "x"})
    assert run.id == "a"
    assert server.lines == ["POST /v1/comfyui-workflows/default/portrait/runs"] * 3
    assert len({*server.header("Idempotency-Key")}) == 1 and server.header("Idempotency-Key")[0]
    assert len({body for _, _, _, body in server.requests}) == 1


def test_each_call_has_a_key_of_its_own() -> None:
    with scripted(Reply(201, RUN), Reply(201, RUN)) as server, Runflow(server.url, "rf_live_x") as api:
        api.submit("default/portrait", {})
        api.submit("default/portrait", {})
    assert len({*server.header("Idempotency-Key")}) == 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(422, REFUSED), InvalidRequest),
        (Reply(403, {"code": "PERMISSION_DENIED", "message": "No."}), PermissionDenied),
        (Reply(500, {"code": "INTERNAL", "message": "No."}), ServerFault),
    ],
)
def test_what_would_be_the_same_again_is_raised_at_once(reply: Reply, kind: type[Exception]) -> None:
    with scripted(reply) as server, Runflow(server.url, "rf_live_x") as api, pytest.raises(kind):
        api.submit("default/portrait", {})
    assert len(server.requests) == 1


def test_patience_ends_with_the_last_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "monotonic", itertools.count().__next__)  # a second passes at every look
    replies = [Reply(503, {"code": "UNAVAILABLE", "message": "Not yet."})] * 20
    with scripted(*replies) as server, Runflow(server.url, "rf_live_x", retry_seconds=3.5) as api:
        with pytest.raises(Unavailable, match="Not yet"):
            api.get_run("a")
        assert len(server.requests) == 5
        server.replies.insert(0, Reply(429, {"code": "RATE_LIMITED", "message": "x"}, {"Retry-After": "3600"}))
        began = len(server.requests)
        with pytest.raises(RateLimited) as limited:
            api.get_run("a")
        assert limited.value.retry_after == 3600
        assert len(server.requests) == began + 1, "longer than the caller's patience"


def test_how_long_a_server_took_before_it_broke_off_uses_up_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatch that waits may break after a minute, and is tried again all the same: else its run would be lost."""
    monkeypatch.setattr(subject, "monotonic", itertools.count(step=60).__next__)  # a minute passes at every look
    with scripted(Reply(503, b""), Reply(201, RUN)) as server, Runflow(server.url, "rf_live_x") as api:
        assert api.submit("default/portrait", {}, wait=60).id == "a"
    assert len({*server.header("Idempotency-Key")}) == 1 and len(server.requests) == 2


def test_a_pause_is_at_least_what_the_server_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    limited = Reply(429, {"code": "RATE_LIMITED", "message": "x"}, {"Retry-After": "7"})
    with scripted(limited, Reply(200, RUN)) as server, Runflow(server.url, "rf_live_x") as api:
        api.get_run("a")
    assert [one for one in slept if one >= 7] == [7]


def test_waiting_survives_a_momentary_503_and_a_broken_connection() -> None:
    away = Reply(503, {"code": "UNAVAILABLE", "message": "Soon."})
    with scripted(Reply(200, GOING_ON), away, CUT, Reply(200, RUN)) as server, Runflow(server.url, "rf_live_x") as api:
        assert api.wait("a").status_code == "succeeded"
    assert server.lines == ["GET /v1/runs/a?wait=20"] * 4


def test_a_run_asks_once_for_a_short_one_and_goes_on_asking_for_a_long_one() -> None:
    with (
        scripted(*(Reply(201, one) for one in (RUN, GOING_ON, GOING_ON, RUN))) as server,
        Runflow(server.url, "rf_live_x") as api,
    ):
        api.run("default/portrait", {})
        api.run("default/portrait", {})
    dispatch, read = "POST /v1/comfyui-workflows/default/portrait/runs", "GET /v1/runs/a?wait=20"
    assert server.lines == [dispatch, dispatch, read, read]
    assert server.header("Prefer") == ["wait=20", "wait=20", None, None]


def test_a_run_that_has_ended_is_no_timeout_however_late_it_is_asked_for() -> None:
    with scripted(Reply(200, RUN), Reply(200, GOING_ON)) as server, Runflow(server.url, "rf_live_x") as api:
        assert api.wait("a", timeout=0).status_code == "succeeded"
        with pytest.raises(RunTimeout):
            api.wait("a", timeout=0)
    assert server.lines == ["GET /v1/runs/a"] * 2


def test_an_address_that_never_answered_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "FIRST_CONTACT_SECONDS", 0.05)
    away = f"http://127.0.0.1:{free_port()}"
    with Runflow(away, "rf_live_x", retry_seconds=3600) as api, pytest.raises(RunflowUnreachable, match=away):
        api.get_run("a")
    with Runflow(away.replace("//", "//me:hidden@"), "rf_live_x") as api, pytest.raises(RunflowUnreachable) as named:
        api.get_run("a")
    assert "hidden" not in str(named.value)


def test_an_address_that_leads_elsewhere_is_named_with_where_it_leads() -> None:
    """A proxy sends http on to https: the key goes nowhere by itself."""
    moved = Reply(308, b"", {"Location": "https://me:hidden@runflow.example.com/v1/runs/a?signature=hidden"})
    with scripted(moved) as server, Runflow(server.url, "rf_live_x") as api:
        with pytest.raises(RunflowUnreachable, match=r"https://runflow\.example\.com") as said:
            api.get_run("a")
        assert "hidden" not in str(said.value) and len(server.requests) == 1


def test_what_is_no_runflow_server_is_named() -> None:
    with (
        scripted(Reply(200, b"<html>hello</html>")) as server,
        Runflow(server.url, "rf_live_x") as api,
        pytest.raises(RunflowUnreachable, match="no Runflow server"),
    ):
        api.get_run("a")


def test_the_body_is_json_that_everybody_reads() -> None:
    with scripted(Reply(201, RUN)) as server, Runflow(server.url, "rf_live_x") as api:
        with pytest.raises(ValueError, match="JSON"):
            api.submit("default/portrait", {"strength": float("nan")})
        api.submit("default/portrait", {"prompt": "größer"}, client_ref=None)
    (request,) = server.requests
    assert json.loads(request[3]) == {"input": {"prompt": "größer"}, "client_ref": None}
    assert request[2]["authorization"] == "Bearer rf_live_x" and request[2]["user-agent"].startswith("runflow-python/")


async def test_programs_can_be_tested_without_a_server() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=RUN))
    with Runflow("http://box", "rf_live_x", transport=transport) as api:
        assert api.get_run("a").status_code == "succeeded"
    async with AsyncRunflow("http://box", "rf_live_x", transport=transport) as awaited:
        assert (await awaited.get_run("a")).status_code == "succeeded"


async def test_no_call_fails_because_others_hold_the_connections_nor_waits_a_minute_for_one_to_be_made() -> None:
    """A thousand runs that wait at the same time share a hundred connections."""
    told: list[dict[str, float | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        told.append(request.extensions["timeout"])
        return httpx.Response(200, json=RUN)

    transport = httpx.MockTransport(answer)
    with Runflow("http://box", "rf_live_x", transport=transport) as api:
        api.get_run("a", wait=20)
    async with AsyncRunflow("http://box", "rf_live_x", transport=transport) as awaited:
        await awaited.get_run("a", wait=20)
    assert told == [{"connect": 10, "read": 80, "write": 80, "pool": None}] * 2


async def test_a_task_that_is_cancelled_asks_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "FIRST_PAUSE", 3600)
    monkeypatch.setattr(subject, "LONGEST_PAUSE", 3600)
    with scripted(Reply(503, b"")) as server:
        async with AsyncRunflow(server.url, "rf_live_x", retry_seconds=1e9) as api:
            task = asyncio.create_task(api.get_run("a"))
            await until(lambda: server.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert len(server.requests) == 1


def test_the_key_is_in_no_repr() -> None:
    with Runflow("http://127.0.0.1:1", "rf_live_hidden") as api:
        request = subject.build(api._session, "GET", "/v1/runs/a")
        assert "hidden" not in repr(api._session) + repr(request) + repr(api)


def test_a_client_without_a_key_says_where_it_looks() -> None:
    with pytest.raises(NotConfigured, match=r"runflow login.*RUNFLOW_API_KEY"):
        Runflow("http://127.0.0.1:1")

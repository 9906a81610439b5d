"""Lists of runs narrowed to statuses, in either spelling of the one for what somebody stopped."""

import httpx
import pytest

from tests.support.deployed import Deployed, Dispatch


@pytest.fixture
async def stopped(client: httpx.AsyncClient, dispatch: Dispatch) -> str:
    """One run that was cancelled, beside one that waits."""
    await dispatch()
    run_id: str = (await dispatch())["id"]
    assert (await client.post(f"/v1/runs/{run_id}/cancellation")).status_code == 201
    return run_id


@pytest.mark.parametrize(
    "asked",
    [
        {"status": "canceled"},
        {"status_code": "canceled"},
        {"status": "cancelled"},
        {"status": "canceled, failed", "limit": "1"},
        {"status_code": "cancelled", "status": "canceled,queued"},
        {"q": "status:canceled"},
        {"q": "status_code.in:(failed, canceled)"},
        {"q": "status_code != queued", "status": ""},
    ],
)
async def test_a_cancelled_run_is_found_under_either_spelling(
    client: httpx.AsyncClient, workflow: Deployed, stopped: str, asked: dict[str, str]
) -> None:
    for path in ("/v1/runs", f"/v1/comfyui-workflows/{workflow.path}/runs"):
        answer = await client.get(path, params=asked)
        assert answer.status_code == 200, answer.text
        assert [(run["id"], run["status_code"]) for run in answer.json()["items"]] == [(stopped, "cancelled")]


@pytest.mark.parametrize("name", ["status", "status_code"])
async def test_what_is_no_status_of_a_run_is_named_with_those_that_are(client: httpx.AsyncClient, name: str) -> None:
    refused = await client.get("/v1/runs", params={name: "queued,done"})
    assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_FILTER")
    assert '"done" is no status of a run; expected one of queued, ' in refused.json()["message"]
    assert refused.json()["errors"][0]["loc"] == ["query", name]


async def test_pages_of_a_narrowed_list_go_on_within_it(client: httpx.AsyncClient, dispatch: Dispatch) -> None:
    made = [(await dispatch())["id"] for _ in range(3)]
    first = (await client.get("/v1/runs", params={"status": "queued", "limit": 2})).json()
    rest = (await client.get("/v1/runs", params={"status": "queued", "limit": 2, "pq": first["next"]})).json()
    assert [run["id"] for run in first["items"] + rest["items"]] == made[::-1]

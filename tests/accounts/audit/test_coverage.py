"""Every write by a key is an audit event, or stands here with a reason: generated from the table of routes."""

from runflow.web.services import Services
from tests.support import everything as of_everything
from tests.support.everything import OF_KEYS, Route, served_order

_RECORDED = "its record says who made it, with which request"
_UNCONFIRMED = "there is no model before the confirmation, which leaves an event"
EXEMPT: dict[Route, str] = {
    ("POST", "/v1/comfyui-workflows/{owner}/{slug}/runs"): _RECORDED,
    ("POST", "/v1/models/{owner}/{slug}/runs"): _RECORDED,
    ("POST", "/v1/runs/{id}/reruns"): _RECORDED,
    ("POST", "/v1/comfyui-workflows/{owner}/{slug}/batches"): _RECORDED,
    ("POST", "/v1/models/{owner}/{slug}/batches"): _RECORDED,
    ("POST", "/v1/asset-uploads"): _RECORDED,
    ("POST", "/v1/asset-uploads/{id}/confirmations"): _RECORDED,
    ("POST", "/v1/evaluations"): _RECORDED,
    ("POST", "/v1/model-lookups"): "it changes nothing",
    ("POST", "/v1/asset-lookups"): "it changes nothing",
    ("POST", "/v1/model-uploads"): _UNCONFIRMED,
    ("PUT", "/v1/model-uploads/{id}/chunks"): _UNCONFIRMED,
}
"""Writes that leave no event."""

NOT_DRIVEN: dict[Route, str] = {
    ("PATCH", "/v1/gpus/{code}"): "the operator's: tests/workers/gpus",
    ("PATCH", "/v1/workers/{id}"): "the operator's: tests/workers",
    ("DELETE", "/v1/workers/{id}"): "the operator's: tests/workers",
    ("POST", "/v1/sources/{id}/approve"): "the operator's: tests/sources",
    ("POST", "/v1/sources/{id}/revoke"): "the operator's: tests/sources",
    ("POST", "/v1/organizations"): "the operator's: tests/accounts/organizations",
    ("POST", "/v1/runs/{id}/cancellation"): "its run has ended, which changes nothing: tests/runs",
    ("POST", "/v1/admin/runs/{run_id}/cancellation"): "its run has ended, which changes nothing: tests/runs",
    ("POST", "/v1/comfyui-workflows/{id}/golden-runs/{golden_run_id}/cancellation"): "it has ended: tests/golden",
    ("POST", "/v1/batches/{id}/cancellation"): "its runs have ended, which changes nothing: tests/batches",
}
"""Writes that this test cannot make succeed, and where they are tested."""

AFTER_ALL: list[Route] = [("POST", "/v1/comfyui-workflows/{id}/restorations")]
"""Only what was deleted can be restored."""

WRITES = [route for route in OF_KEYS if route[0] != "GET"]


def test_the_lists_name_routes_that_there_are() -> None:
    assert set(EXEMPT) | set(NOT_DRIVEN) <= set(WRITES)


async def test_every_write_leaves_an_event(services: Services) -> None:
    faults = []
    async with of_everything.make(services) as own:
        for route in served_order(set(WRITES) - set(AFTER_ALL)) + AFTER_ALL:
            answer = await own.call(route)
            query = f"request_id:'{answer.headers['Runflow-Request-Id']}'"
            events = (await own.client.get("/v1/audit-events", params={"q": query})).json()["items"]
            if route in EXEMPT and events:
                faults.append(f"{' '.join(route)}: leaves {events[0]['action_code']}, though it is exempt")
            if route in EXEMPT or route in NOT_DRIVEN:
                continue
            if not answer.is_success:
                faults.append(f"{' '.join(route)}: could not be driven: {answer.status_code} {answer.text[:200]}")
            elif not events:
                faults.append(f"{' '.join(route)}: leaves no event, and says not why")
    assert faults == [], "\n".join(faults)

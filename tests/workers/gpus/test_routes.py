"""The GPU catalogue: everybody reads it, the operator's organization changes it."""

from typing import Any

import httpx
import pytest

from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org, open_client
from tests.support.deployed import MakeWorker


@pytest.fixture
async def gpu(make_worker: MakeWorker) -> str:
    """A class that is known because a worker of it has come."""
    code = f"RTX{new_id().hex[-8:].upper()}"
    await make_worker(code)
    return code


async def test_the_catalogue_begins_with_the_known_classes(client: httpx.AsyncClient) -> None:
    found = (await client.get("/v1/gpus", params={"q": "sort_order < 100"})).json()["items"]
    assert [row["code"] for row in found] == ["CPU", "L4", "A10G", "L40S", "A100", "H100"]
    assert found[3] == {
        "code": "L40S",
        "name": "NVIDIA L40S",
        "memory_gb": 48,
        "price_per_second": "0.000000",
        "workers_online": 0,
        "sort_order": 3,
    }


async def test_a_class_that_a_worker_brings_is_in_the_catalogue_without_a_price(
    client: httpx.AsyncClient, gpu: str
) -> None:
    found = (await client.get(f"/v1/gpus/{gpu}")).json()
    assert (found["workers_online"], found["price_per_second"]) == (1, "0.000000")
    listed = (await client.get("/v1/gpus", params={"q": f"workers_online > 0 AND code:{gpu}"})).json()
    assert [row["code"] for row in listed["items"]] == [gpu]


async def test_the_operator_sets_price_and_name(operator: httpx.AsyncClient, gpu: str) -> None:
    answer = await operator.patch(f"/v1/gpus/{gpu}", json={"price_per_second": "0.0007", "name": "Big one"})
    assert (answer.status_code, answer.json()["price_per_second"], answer.json()["name"]) == (
        200,
        "0.000700",
        "Big one",
    )
    number = await operator.patch(f"/v1/gpus/{gpu}", json={"price_per_second": 0.000444})
    assert (number.json()["price_per_second"], number.json()["name"]) == ("0.000444", "Big one")
    events = (await operator.get("/v1/audit-events", params={"q": f"target_id:{gpu}"})).json()["items"]
    assert {event["action_code"] for event in events} == {"gpu.updated"}


async def test_another_organization_cannot_change_it(
    operator: httpx.AsyncClient, services: Services, make_key: MakeKey, gpu: str
) -> None:
    async with open_client(services, await make_key(org=await new_org(services))) as stranger:
        answer = await stranger.patch(f"/v1/gpus/{gpu}", json={"price_per_second": 1})
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    assert (await operator.get(f"/v1/gpus/{gpu}")).json()["price_per_second"] == "0.000000"


@pytest.mark.parametrize("code", ["nothing", "%00"])
async def test_an_unknown_class_is_not_found(operator: httpx.AsyncClient, code: str) -> None:
    for answer in (await operator.get(f"/v1/gpus/{code}"), await operator.patch(f"/v1/gpus/{code}", json={})):
        assert (answer.status_code, answer.json()["code"]) == (404, "GPU_NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [
        {"price_per_second": -1},
        {"price_per_second": "0.0000001"},
        {"price_per_second": 10**7},
        {"price_per_second": "Infinity"},
        {"price_per_second": None},
        {"name": ""},
        {"memory_gb": 3},
    ],
)
async def test_a_bad_change_is_refused(operator: httpx.AsyncClient, gpu: str, body: dict[str, Any]) -> None:
    answer = await operator.patch(f"/v1/gpus/{gpu}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")

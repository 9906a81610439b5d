"""A misspelt parameter of a statistic is refused: ignored, it would answer for another time than was asked for."""

import httpx
import pytest

from tests.support.workflow_calls import created
from tests.support.workflow_prompts import body


async def test_a_statistic_names_the_parameter_that_it_does_not_have(client: httpx.AsyncClient) -> None:
    made = await created(client, body())
    address = f"/v1/comfyui-workflows/{made['id']}/run-performance-stats"
    assert (await client.get(address, params={"from": "2026-01-01", "_": "1"})).status_code == 200
    answer = await client.get(address, params={"form": "2026-01-01"})
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["loc"] == ["query", "form"]
    assert answer.json()["message"] == "There is no parameter `form` here; expected one of bucket, from, to."


@pytest.mark.parametrize(
    ("name", "meant"),
    [("page", "`pq`"), ("per_page", "`limit`"), ("order", "`sort_by`"), ("status_code", "`q=status_code:VALUE`")],
)
async def test_a_list_tells_what_the_parameter_of_another_api_is_called_here(
    client: httpx.AsyncClient, name: str, meant: str
) -> None:
    answer = await client.get("/v1/batches", params={name: "2"})
    assert answer.status_code == 422
    assert meant in answer.json()["message"].partition("sort_by. ")[2]

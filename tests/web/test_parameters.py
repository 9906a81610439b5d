"""A misspelt parameter of a statistic is refused: ignored, it would answer for another time than was asked for."""

import httpx

from tests.workflows.calls import created
from tests.workflows.prompts import body


async def test_a_statistic_names_the_parameter_that_it_does_not_have(client: httpx.AsyncClient) -> None:
    made = await created(client, body())
    address = f"/v1/comfyui-workflows/{made['id']}/run-performance-stats"
    assert (await client.get(address, params={"from": "2026-01-01", "_": "1"})).status_code == 200
    answer = await client.get(address, params={"form": "2026-01-01"})
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["loc"] == ["query", "form"]
    assert answer.json()["message"] == "There is no parameter `form` here; expected one of bucket, from, to."

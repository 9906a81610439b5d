"""Every list of the API, found in its OpenAPI document: all parameters, and every field it says it has really works."""

import re
from typing import Any

import httpx
import pytest

from tests.support.workflow_calls import created
from tests.support.workflow_prompts import body

PARAMETERS = {"q", "limit", "sort_by", "fields", "pq", "from_prev", "embed"}
ENVELOPE = {"items", "first", "next", "previous", "next_pq", "prev_pq"}


@pytest.fixture
async def lists(client: httpx.AsyncClient) -> dict[str, set[str]]:
    """The path of each list, with the names of its query parameters."""
    document = (await client.get("/v1/openapi.json")).json()
    found = {}
    for path, operations in document["paths"].items():
        names = {item["name"] for item in operations.get("get", {}).get("parameters", ()) if item["in"] == "query"}
        if "q" in names:
            found[path] = names
    return found


async def addresses(client: httpx.AsyncClient, lists: dict[str, set[str]]) -> dict[str, str]:
    """Return an address that answers for each list: of one workflow, of `any` parent where that is possible."""
    made = await created(client, body())
    found = {}
    for path in lists:
        address = path.replace("{owner}/{slug}", made["path"]).replace("workflows/{id}", f"workflows/{made['id']}")
        address = re.sub(r"\{\w+\}", "any", address)
        if (await client.get(address)).status_code == 200:
            found[path] = address
    return found


def allowed(answer: httpx.Response, code: str) -> list[str]:
    """Return the names that an error message lists."""
    assert (answer.status_code, answer.json()["code"]) == (400, code), f"{answer.url}: {answer.text}"
    if "this resource has none" in answer.json()["message"]:
        return []
    listed = re.search(r"expected one of (.+)\.$", answer.json()["message"])
    assert listed is not None, answer.json()["message"]
    return listed[1].split(", ")


async def test_every_list_takes_every_parameter(lists: dict[str, set[str]]) -> None:
    assert {path: PARAMETERS - names for path, names in lists.items() if not names >= PARAMETERS} == {}
    assert len(lists) >= 5


async def test_every_field_sorts_filters_and_is_given(client: httpx.AsyncClient, lists: dict[str, set[str]]) -> None:
    found = await addresses(client, lists)
    assert {"/v1/comfyui-workflows", "/v1/comfyui-workflows/{comfyui_workflow_id}/inputs"} <= set(found)
    for address in found.values():

        async def ask(name: str, value: str, address: str = address) -> httpx.Response:
            return await client.get(address, params={name: value, "limit": 1})

        calls: list[dict[str, Any]] = []
        for name in allowed(await ask("sort_by", "~"), "INVALID_SORT"):
            calls += [{"sort_by": f"{name}:asc"}, {"sort_by": f"{name}:desc", "from_prev": True}]
        calls += [{"q": f"{name}.isnull:false"} for name in allowed(await ask("q", "zz:1"), "INVALID_FILTER")]
        calls += [{"fields": name} for name in allowed(await ask("fields", "~"), "INVALID_FIELD")]
        calls += [{"embed": name} for name in allowed(await ask("embed", "~"), "INVALID_FIELD")]
        for parameters in calls:
            answer = await client.get(address, params={**parameters, "limit": 1})
            assert answer.status_code == 200, f"{address} {parameters}: {answer.text}"
            assert set(answer.json()) >= ENVELOPE
            for item in answer.json()["items"]:
                named = parameters.get("fields") or parameters.get("embed")
                assert named is None or named in item or "embed" not in parameters, f"{address} {parameters}"


async def test_bad_parameters_have_the_one_envelope(client: httpx.AsyncClient, lists: dict[str, set[str]]) -> None:
    for address in (await addresses(client, lists)).values():
        for parameters, status, code in (
            ({"q": "("}, 400, "INVALID_FILTER"),
            ({"q": "\0"}, 400, "INVALID_FILTER"),
            ({"pq": "nonsense"}, 400, "INVALID_CURSOR"),
            ({"limit": 0}, 422, "VALIDATION_ERROR"),
            ({"limit": 501}, 422, "VALIDATION_ERROR"),
        ):
            answer = await client.get(address, params=parameters)
            assert (answer.status_code, answer.json()["code"]) == (status, code), f"{address} {parameters}"
            assert set(answer.json()) == {"code", "message", "errors"}
        assert "character 1" in (await client.get(address, params={"q": ")"})).json()["message"]


async def test_a_parameter_that_a_list_does_not_have_is_refused(
    client: httpx.AsyncClient, lists: dict[str, set[str]]
) -> None:
    found = await addresses(client, lists)
    assert len(found) >= 5
    for address in found.values():
        answer = await client.get(address, params={"staus_code": "failed", "offset": 50, "limit": 1})
        assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR"), address
        assert [problem["loc"] for problem in answer.json()["errors"]] == [["query", "staus_code"], ["query", "offset"]]
        assert "`q=staus_code:VALUE`" in answer.json()["message"] and "limit, pq, q" in answer.json()["message"]
        # What caches and proxies add changes nothing.
        assert (await client.get(address, params={"_": "1700000000", "limit": 1})).status_code == 200, address

"""The index for language models."""

import httpx

from runflow.runs.openapi.llms import HEAD
from tests.support.workflow_calls import created
from tests.support.workflow_prompts import body


async def test_the_index_for_language_models_names_every_route(anonymous: httpx.AsyncClient) -> None:
    index = (await anonymous.get("/llms.txt")).text
    document = (await anonymous.get("/v1/openapi.json")).json()
    assert index.startswith("# Runflow API\n\n> ")
    assert len(document["paths"]) > 20
    assert index.index("## ComfyUI workflows\n") < index.index("## Runs\n") < index.index("## Status\n")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"- `{method.upper()} {path}`: {operation['summary']}\n" in index


async def test_the_first_step_of_the_index_shows_inputs(client: httpx.AsyncClient) -> None:
    await created(client, body())
    step = next(line for line in HEAD.splitlines() if line.startswith("1. "))
    address = step.split("`")[1].removeprefix("GET ")
    (workflow,) = (await client.get(address)).json()["items"]
    assert workflow["path"] and workflow["inputs"]

"""Reading JSON bodies."""

import codecs
import gzip
from typing import Any

import httpx
import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from runflow import errors
from runflow.accounts.organizations.schemas import CreateMember
from runflow.assets.schemas import UploadCreate
from runflow.batches.schemas import CreateBatch
from runflow.runs.schemas import DispatchRequest
from runflow.web.json_body import MAX_REPORTED, openapi_body, parse
from runflow.web.services import Services
from runflow.workflows.schemas import CreateWorkflow, PatchWorkflow
from tests.support.workflow_calls import ROUTE


@pytest.mark.parametrize("raw", [b"", b"  ", b"{", b'{"a": Infinity}', b"\xff", b'{"a": "\\ud800"}', b"{} {}"])
def test_what_is_no_json(raw: bytes) -> None:
    with pytest.raises(errors.InvalidJson):
        parse(CreateWorkflow, raw)


def test_every_problem_is_named_but_not_endlessly() -> None:
    with pytest.raises(RequestValidationError) as caught:
        parse(CreateWorkflow, b'{"workflow_json": {}, "inputs": [' + b",".join([b"{}"] * 500) + b"]}")
    found = caught.value.errors()
    assert len(found) == MAX_REPORTED
    assert found[0]["loc"] == ("body", "inputs", 0, "name")
    assert set(found[0]) == {"loc", "msg", "type"}


@pytest.mark.parametrize("model", [CreateWorkflow, PatchWorkflow])
def test_the_description_stands_alone(model: type[CreateWorkflow] | type[PatchWorkflow]) -> None:
    schema = openapi_body(model)["requestBody"]["content"]["application/json"]["schema"]
    assert "$ref" not in str(schema)
    assert "$defs" not in schema
    assert schema["properties"]["inputs"]["description"]
    assert set(schema.get("required", [])) == ({"name", "workflow_json"} if model is CreateWorkflow else set())


async def test_malformed_bodies(client: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    json = {"Content-Type": "application/json"}
    answer = await client.post(ROUTE, content=b'{"name": ', headers=json)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_JSON")
    assert "character" in answer.json()["message"]
    answer = await client.post(ROUTE, content=b"", headers=json)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_JSON")
    answer = await client.post(ROUTE, content=b'{"name": NaN}', headers=json)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_JSON")
    answer = await client.post(ROUTE, content=b"[]", headers=json)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    answer = await client.post(ROUTE, content=b"name=x", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    answer = await anonymous.post(ROUTE, content=b'{"name": ', headers=json)
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")


async def test_a_body_over_the_limit_is_a_413(client: httpx.AsyncClient, services: Services) -> None:
    async def chunks() -> Any:
        yield b'{"name": "'
        for _ in range(services.settings.max_body_bytes // 2**20 + 1):
            yield b"x" * 2**20

    for content in (b"x" * (services.settings.max_body_bytes + 1), chunks()):
        answer = await client.post(ROUTE, content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


def faults(model: type[BaseModel], raw: bytes) -> dict[str, str]:
    with pytest.raises(RequestValidationError) as caught:
        parse(model, raw)
    return {".".join(str(part) for part in fault["loc"]): fault["msg"] for fault in caught.value.errors()}


def test_an_unknown_field_is_told_those_that_there_are() -> None:
    found = faults(DispatchRequest, b'{"inputs": {}, "webhook_url": "https://a.example"}')
    expected = "Expected are: input, callback_url, client_ref, metadata, version, priority"
    assert found["body.inputs"] == f'There is no field "inputs" here. Did you mean "input"? {expected}'
    assert found["body.webhook_url"] == f'There is no field "webhook_url" here. {expected}'
    long = faults(DispatchRequest, b'{"input": {}, "%s": 1}' % (b"x" * 5000))
    assert all(len(message) < 300 for message in long.values())


def test_the_number_of_items_is_told_in_plain_words() -> None:
    assert faults(CreateBatch, b'{"input": []}') == {"body.input": "Takes 1 or more items, found 0"}
    many = b'{"input": [' + b",".join([b"{}"] * 101) + b"]}"
    assert faults(CreateBatch, many) == {"body.input": "Takes at most 100 items, found 101"}


def test_a_pattern_is_told_by_an_example() -> None:
    found = faults(UploadCreate, b'{"filename": "a", "mime_type": "png", "size_bytes": 1}')
    assert found == {"body.mime_type": "Is not of the form that is expected here (such as image/png)"}
    found = faults(CreateMember, b'{"email": "ada", "role_code": "owner"}')
    assert found == {"body.email": "Is not of the form that is expected here (such as ada@example.com)"}


async def test_a_compressed_body_is_refused_by_name_and_a_byte_order_mark_is_no_fault(
    client: httpx.AsyncClient,
) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await client.post(ROUTE, content=gzip.compress(b"{}"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert "gzip" in answer.json()["message"] and "plain JSON" in answer.json()["message"]
    body = codecs.BOM_UTF8 + b'{"input": {}}'
    assert parse(DispatchRequest, body).input == {}
    with pytest.raises(errors.InvalidJson, match="empty"):
        parse(DispatchRequest, codecs.BOM_UTF8)

"""Reading JSON bodies."""

import pytest
from fastapi.exceptions import RequestValidationError

from runflow import errors
from runflow.workflows.json_body import MAX_REPORTED, openapi_body, parse
from runflow.workflows.schemas import CreateWorkflow, PatchWorkflow


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

"""JSON Schema of single inputs."""

from typing import Any

import pytest

from runflow.runs.openapi.input_schema import example_of, input_schema


def row(kind: str = "string", **values: Any) -> dict[str, Any]:
    plain = {"name": "x", "variable_type_code": kind, "display_name": "", "description": "", "default_value": None}
    return {**plain, "is_required": True, **values}


def limits(kind: str, attributes: Any, **values: Any) -> dict[str, Any]:
    schema = input_schema(row(kind, validator_attrs=attributes, **values))
    return {name: schema[name] for name in schema if name not in ("type", "title", "x-runflow-type", "default")}


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        ("int", {"min": 0, "max": 10}, {"minimum": 0, "maximum": 10}),
        ("float", {"minimum": 0.5, "maximum": True}, {"minimum": 0.5}),
        ("int", {"choices": [1, 2, 2]}, {"enum": [1, 2]}),
        ("int", {"choices": [1, "2"]}, {}),
        ("int", {"choices": [1.5]}, {}),
        ("float", {"options": [1, 1.5]}, {"enum": [1, 1.5]}),
        (
            "string",
            {"min_length": 1, "maxLength": 5, "pattern": "^a"},
            {"minLength": 1, "maxLength": 5, "pattern": "^a"},
        ),
        ("string", {"min_length": -1, "max_length": "5", "pattern": "("}, {}),
        ("string", {"min": 1}, {}),
        ("string", {"enum": []}, {}),
        ("boolean", {"choices": [True]}, {}),
        ("int", None, {}),
    ],
)
def test_limits_that_can_be_understood(kind: str, attributes: Any, expected: dict[str, Any]) -> None:
    assert limits(kind, attributes) == expected


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        ("int", {"step": 8}, {"multipleOf": 8, "x-runflow-step": 8}),
        ("int", {"min": 64, "step": 8}, {"minimum": 64, "multipleOf": 8, "x-runflow-step": 8}),
        (
            "int",
            {"min": 4, "step": 8},
            {"minimum": 4, "x-runflow-step": 8, "description": "In steps of 8 from 4."},
        ),
        ("int", {"step": 1}, {"x-runflow-step": 1}),
        ("int", {"step": 0}, {}),
        ("float", {"min": 0, "step": 0.1}, {"minimum": 0.0, "x-runflow-step": 0.1}),
        ("string", {"step": 2}, {}),
    ],
)
def test_steps_are_multiples_only_where_they_count_from_zero(
    kind: str, attributes: Any, expected: dict[str, Any]
) -> None:
    assert limits(kind, attributes) == expected


def test_a_default_that_its_limits_refuse_is_told_in_words() -> None:
    found = input_schema(row("int", validator_attrs={"min": 5, "max": 50}, default_value=1))
    assert "default" not in found
    assert (found["minimum"], found["description"]) == (5, "Left out, the workflow uses 1.")


def test_the_default_is_what_a_run_uses() -> None:
    assert input_schema(row("int", is_required=False, effective_default=20))["default"] == 20
    assert input_schema(row("int", is_required=False, effective_default=20, default_value=8))["default"] == 8
    assert example_of(row("int", is_required=False, effective_default=20)) == 20


def test_an_optional_input_may_be_null() -> None:
    schema = input_schema(row(validator_attrs={"choices": ["a"]}, is_required=False))
    assert (schema["type"], schema["enum"]) == (["string", "null"], ["a", None])


def test_files_are_addresses_and_their_defaults_stay_inside() -> None:
    schema = input_schema(row("image", description="A face.", default_value="runflow://assets/x", is_required=False))
    assert (schema["type"], schema["format"]) == (["string", "null"], "uri")
    assert schema["description"].startswith("A face. Takes `runflow://assets/{uuid}`")
    assert "runflow://assets/x" not in str(schema)
    assert "default" not in schema


def test_examples_fit_their_limits() -> None:
    assert example_of(row("int", validator_attrs={"min": 64})) == 64
    assert example_of(row("int", default_value=7)) == 7
    assert example_of(row("int", validator_attrs={"min": 4, "max": 30, "step": 8})) == 4
    assert example_of(row("int", validator_attrs={"max": -3, "step": 8})) == -8
    assert example_of(row(validator_attrs={"choices": ["dog"]})) == "dog"
    assert example_of(row(validator_attrs={"max_length": 5})) == "otter"
    assert example_of(row(validator_attrs={"pattern": "^[0-9]+$"})) is None
    assert example_of(row("image")) == "https://your-site.example/photo.png"

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import (
    InputSpec,
    InputType,
    Interface,
    MediaKind,
    ValueProblem,
    ValueRules,
    media_inputs,
    validate_values,
)
from tests.plugin.graph.prompt_strategies import VALUES, input_names

ASSET = "runflow://assets/018f3c1e-7b1a-7c3e-9a55-2f6d1c0b4e77"


def spec(name: str, kind: InputType, *, required: bool = True, default: Any = None) -> InputSpec:
    return InputSpec(name, kind, name, "", required, default, 0, "1", "value", "node")


INTERFACE = Interface(
    (
        spec("prompt", InputType.STRING),
        spec("steps", InputType.INT, required=False, default=20),
        spec("Aux Reference 1", InputType.IMAGE, required=False),
    )
)


def test_accepted_values_are_converted_and_omitted_ones_are_absent() -> None:
    result = validate_values(INTERFACE, {"prompt": "a cat", "steps": "25", "Aux Reference 1": None})
    assert result.ok
    assert result.values == {"prompt": "a cat", "steps": 25}


@pytest.mark.parametrize("values", [{}, {"prompt": None}, None])
def test_a_missing_required_input_is_named(values: object) -> None:
    (problem,) = validate_values(INTERFACE, values).problems
    assert problem == ValueProblem("prompt", 'Input "prompt" (string) is required. Add it to input.', "missing")


@pytest.mark.parametrize("values", [[], "x", 3, True])
def test_an_input_that_is_no_object_is_refused(values: object) -> None:
    (problem,) = validate_values(INTERFACE, values).problems
    assert (problem.key, problem.type) == ("", "type_error")


def test_a_wrong_type_names_key_and_value() -> None:
    (problem,) = validate_values(INTERFACE, {"prompt": "x", "steps": "many"}).problems
    assert problem == ValueProblem("steps", "Input \"steps\" takes an integer, but got the text 'many'.", "type_error")


@pytest.mark.parametrize(
    ("key", "close"), [("promt", "prompt"), ("Prompt", "prompt"), ("aux reference 1", "Aux Reference 1")]
)
def test_an_unknown_key_comes_with_the_closest_one(key: str, close: str) -> None:
    (problem,) = validate_values(INTERFACE, {"prompt": "x", key: "y"}).problems
    assert (problem.key, problem.type) == (key, "unknown_input")
    assert f'Did you mean "{close}"?' in problem.message


def test_an_unknown_key_far_from_all_lists_what_there_is() -> None:
    (problem,) = validate_values(INTERFACE, {"prompt": "x", "zzzzz": 1}).problems
    assert problem.message == "Unknown input 'zzzzz'. This workflow takes: prompt, steps, Aux Reference 1."
    (problem,) = validate_values(Interface(), {"a": 1}).problems
    assert problem.message == "Unknown input 'a'. This workflow takes no inputs."


def test_every_problem_is_reported_at_once_up_to_a_limit() -> None:
    result = validate_values(INTERFACE, {"steps": [], "typo": 1})
    assert [(problem.key, problem.type) for problem in result.problems] == [
        ("prompt", "missing"),
        ("steps", "type_error"),
        ("typo", "unknown_input"),
    ]
    assert len(validate_values(INTERFACE, {f"k{n}": n for n in range(5000)}).problems) == 100


def test_the_rules_of_the_caller_apply() -> None:
    values = {"prompt": "x", "Aux Reference 1": "http://h/a.png"}
    assert not validate_values(INTERFACE, values).ok
    assert validate_values(INTERFACE, values, ValueRules(allow_http=True)).ok


def test_the_files_to_fetch_are_those_of_values_and_of_defaults() -> None:
    interface = Interface(
        (
            spec("given", InputType.IMAGE),
            spec("default", InputType.FILE, required=False, default="https://example.com/d.bin"),
            spec("overridden", InputType.FILE, required=False, default="https://example.com/d.bin"),
            spec("resource", InputType.IMAGE, required=False, default="folder/logo.png"),
            spec("omitted", InputType.IMAGE, required=False),
            spec("text", InputType.STRING, required=False, default="https://example.com"),
        )
    )
    found = media_inputs(interface, {"given": ASSET, "overridden": "data:,x", "text": "https://example.com"})
    assert {name: reference.kind for name, reference in found.items()} == {
        "given": MediaKind.ASSET,
        "default": MediaKind.HTTPS,
        "overridden": MediaKind.DATA,
    }


@given(st.data())
def test_fitting_values_are_accepted_unchanged(data: st.DataObject) -> None:
    names = data.draw(st.lists(input_names, max_size=6, unique=True))
    interface = Interface(tuple(spec(name, data.draw(st.sampled_from(list(InputType)))) for name in names))
    values = {item.name: data.draw(VALUES[item.variable_type_code]) for item in interface.inputs}
    result = validate_values(interface, values)
    assert result.problems == ()
    assert result.values == values


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "steps", "Aux Reference 1"]) | st.text(max_size=8),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.just([]) | st.just({}),
        max_size=6,
    )
)
def test_each_key_is_either_accepted_or_reported(values: dict[str, Any]) -> None:
    result = validate_values(INTERFACE, values)
    reported = {problem.key for problem in result.problems}
    assert set(result.values).isdisjoint(reported)
    for key, value in values.items():
        assert key in result.values or key in reported or value is None
    assert all(problem.message.startswith(('Input "', "Unknown input ")) for problem in result.problems)


def test_many_wrong_keys_on_many_inputs_are_told_in_no_time() -> None:
    many = Interface(tuple(spec(f"a_long_name_of_an_input_{at:05d}", InputType.STRING) for at in range(10_000)))
    started = time.process_time()
    problems = validate_values(many, {f"a_long_name_of_an_input_x{at:04d}": 1 for at in range(200)}).problems
    assert len(problems) == 100 and time.process_time() - started < 5
    few = validate_values(INTERFACE, {"prompt": "x", **{f"step{at}": 1 for at in range(50)}}).problems
    assert sum("Did you mean" in problem.message for problem in few) == 3

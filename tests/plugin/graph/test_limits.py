"""What an input takes beside its type."""

from typing import Any

import pytest

from runflow.graph import InputType, Interface, Limits, read_interface, validate_values
from runflow.graph.limits import NO_LIMITS, not_understood

INT, FLOAT, STRING = InputType.INT, InputType.FLOAT, InputType.STRING


def refusal(kind: InputType, attributes: dict[str, Any], value: object) -> str | None:
    return Limits.of(kind, attributes).refusal(value)


@pytest.mark.parametrize(
    ("kind", "attributes", "kept"),
    [
        (INT, {"min": 1, "max": 9.5, "step": 2}, {"min": 1, "max": 9, "step": 2}),
        (INT, {"minimum": 0.5, "maximum": True}, {"min": 1}),
        (INT, {"min": 3, "minimum": 5}, {"min": 3}),
        (INT, {"step": -1}, {}),
        (INT, {"step": 1.5}, {}),
        (INT, {"step": 2.0}, {"step": 2}),
        (INT, {"max": float("inf"), "min": 10**30}, {}),
        (FLOAT, {"min": 0, "step": 0.1}, {"min": 0.0, "step": 0.1}),
        (FLOAT, {"options": [1, 1.5]}, {"choices": [1, 1.5]}),
        (INT, {"choices": [1, "2"]}, {}),
        (STRING, {"choices": ["a", "a", "b"], "min": 1}, {"choices": ["a", "b"]}),
        (STRING, {"maxLength": 5, "min_length": -1, "pattern": "("}, {"max_length": 5}),
        (InputType.BOOLEAN, {"choices": [True]}, {}),
        (InputType.IMAGE, {"max": 5}, {}),
        (INT, None, {}),
        (INT, {"max": None}, {}),
    ],
)
def test_what_is_understood(kind: InputType, attributes: Any, kept: dict[str, Any]) -> None:
    assert Limits.of(kind, attributes).to_attributes() == kept
    assert Limits.of(kind, kept) == Limits.of(kind, attributes)


def test_what_has_no_effect_is_named() -> None:
    assert list(not_understood(INT, {"min": "a", "max": 5, "choices": [], "mine": 1, "min_length": 1})) == [
        "min",
        "choices",
        "min_length",
    ]
    assert list(not_understood(STRING, {"min": 1, "pattern": "^a"})) == ["min"]


@pytest.mark.parametrize(
    ("kind", "attributes", "value", "said"),
    [
        (INT, {"min": 1}, 0, "takes at least 1, but got 0."),
        (INT, {"max": 50}, 80, "takes at most 50, but got 80."),
        (FLOAT, {"max": 0.5}, 0.75, "takes at most 0.5, but got 0.75."),
        (INT, {"min": 64, "max": 100, "step": 8}, 70, "takes steps of 8 from 64, but got 70. Send 64 or 72."),
        (INT, {"min": 64, "max": 100, "step": 8}, 99, "takes steps of 8 from 64, but got 99. Send 96."),
        (INT, {"step": 8}, -3, "takes steps of 8 from 0, but got -3. Send -8 or 0."),
        (STRING, {"choices": ["cat", "dog"]}, "dgo", "takes one of 'cat', 'dog', but got the text 'dgo'. "
            "Did you mean 'dog'?"),
        (INT, {"choices": [1, 2]}, 3, "takes one of 1, 2, but got the number 3."),
        (STRING, {"max_length": 2}, "abc", "takes at most 2 characters, but got 3."),
        (STRING, {"min_length": 2}, "a", "takes at least 2 characters, but got 1."),
    ],
)  # fmt: skip
def test_what_is_refused_names_limit_and_value(
    kind: InputType, attributes: dict[str, Any], value: object, said: str
) -> None:
    assert refusal(kind, attributes, value) == said


@pytest.mark.parametrize(
    ("kind", "attributes", "value"),
    [
        (INT, {"min": 1, "max": 1}, 1),
        (INT, {"min": 4, "step": 8}, 2**64 - 4),
        (INT, {"step": 1}, 7),
        (FLOAT, {"min": 0.0, "step": 0.1}, 0.37),
        (STRING, {"choices": ["cat"]}, "cat"),
        (STRING, {"pattern": "^a$"}, "b"),
        (InputType.BOOLEAN, {"max": 0}, True),
    ],
)
def test_what_is_taken(kind: InputType, attributes: dict[str, Any], value: object) -> None:
    assert refusal(kind, attributes, value) is None


def test_limits_that_leave_no_value() -> None:
    assert NO_LIMITS.fault() is None
    assert "smallest of 5, which is above its largest of 3" in str(Limits(minimum=5, maximum=3).fault())
    assert "smallest length of 5" in str(Limits(min_length=5, max_length=3).fault())
    assert Limits(choices=(1, 9), maximum=5).fault() == (
        "has a choice that its other limits refuse: it takes at most 5, but got 9."
    )


def test_a_run_is_refused_with_key_limit_and_value() -> None:
    steps = {"name": "steps", "variable_type_code": "int", "comfyui_node_id": "1", "validator_attrs": {"max": 50}}
    sampler = {"name": "sampler", "variable_type_code": "string", "validator_attrs": {"choices": ["a"]}}
    rows = [steps, sampler | {"comfyui_node_id": "2"}]
    found = validate_values(Interface.from_dict({"inputs": rows}), {"steps": "80", "sampler": "b"})
    assert [(problem.key, problem.type) for problem in found.problems] == [
        ("steps", "out_of_range"),
        ("sampler", "not_a_choice"),
    ]
    assert found.problems[0].message == 'Input "steps" takes at most 50, but got 80.'
    assert validate_values(Interface.from_dict({"inputs": rows}), {"steps": 50, "sampler": "a"}).ok


def test_a_frozen_interface_keeps_them() -> None:
    widgets = {"input_id": "steps", "min": "1", "max": 50, "step": "", "default_value": "20"}
    interface = read_interface({"1": {"class_type": "RunflowInputInt", "inputs": widgets}})
    (row,) = interface.to_dict()["inputs"]
    assert (row["validator_attrs"], row["default_value"]) == ({"min": 1, "max": 50}, 20)
    assert Interface.from_dict(interface.to_dict()) == interface


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(), ""),
        (Limits(minimum=8, step=8), "at least 8, in steps of 8"),
        (Limits(maximum=0.5), "at most 0.5"),
        (Limits(min_length=1, max_length=9), "1 to 9 characters"),
        (Limits(choices=tuple(range(20))), "one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more"),
    ],
)
def test_limits_in_words(limits: Limits, words: str) -> None:
    assert limits.in_words() == words

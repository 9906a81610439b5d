from typing import Any

import pytest

from runflow.graph import InputSpec, InputType, Interface, InterfaceError, OutputSpec, check_targets

PROMPT: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20}, "_meta": {"title": "Sampler"}},
    "5": {"class_type": "RunflowInputImage", "inputs": {"input_id": "photo"}},
}


def manual(name: str, node_id: str, field: str) -> InputSpec:
    return InputSpec(name, InputType.INT, name, "", False, None, 0, node_id, field, "manual")


def faults(*inputs: InputSpec, outputs: tuple[OutputSpec, ...] = ()) -> list[str]:
    with pytest.raises(InterfaceError) as raised:
        check_targets(PROMPT, Interface(inputs, outputs))
    return [str(problem) for problem in raised.value.problems]


def test_any_field_of_any_node_may_be_a_target() -> None:
    image = InputSpec("photo", InputType.IMAGE, "", "", True, None, 0, "5", "value", "node")
    check_targets(PROMPT, Interface((image, manual("seed", "3", "seed"), manual("steps", "3", "steps"))))


def test_a_missing_node_is_named() -> None:
    assert faults(manual("seed", "99", "seed"))[0].startswith('Input "seed" targets node 99, which is not in')
    output = OutputSpec("image", InputType.IMAGE, "", "", 0, "98", "value", "manual")
    assert faults(outputs=(output,))[0].startswith('Output "image" targets node 98')


def test_a_missing_field_is_named_with_the_fields_there_are() -> None:
    assert faults(manual("cfg", "3", "cfg")) == [
        'Input "cfg" targets field "cfg" of node 3 "Sampler" (KSampler), which has no such field. '
        "Set comfyui_field_name to one of its fields: seed, steps."
    ]


def test_a_name_or_target_that_is_used_twice_is_refused() -> None:
    assert 'name "a" is used twice' in faults(manual("a", "3", "seed"), manual("a", "3", "steps"))[0]
    assert 'inputs "a" and "b" both write field "seed"' in faults(manual("a", "3", "seed"), manual("b", "3", "seed"))[0]

"""From a prompt and stated rows to an interface, without HTTP."""

import time

import pytest

from runflow import errors
from runflow.graph import Interface
from runflow.workflows.interface.declared import first_rows, merge_rows, read_declared, settle
from tests.support.workflow_prompts import Prompt, input_node, prompt


def test_the_frozen_interface_reads_back_with_its_validators() -> None:
    declared = read_declared(prompt())
    stated = [{"name": "prompt", "validator_code": "length", "default_value": "a"}]
    settled = settle(declared.prompt, *first_rows(declared), stated, [{"name": "image", "validator_code": "size"}])
    frozen = settled.frozen()
    assert Interface.from_dict(frozen) == settled.interface
    assert frozen["inputs"][0]["validator_code"] == "length"
    assert frozen["outputs"][0]["validator_code"] == "size"
    assert "validator_attrs" not in frozen["inputs"][0]


def test_rows_come_in_the_order_that_was_stated() -> None:
    declared = read_declared(prompt(n2=input_node("style"), n11=input_node("size", "Int")))
    settled = settle(declared.prompt, *first_rows(declared), [{"name": "size", "sort_order": -1}], [])
    assert [spec.name for spec in settled.interface.inputs] == ["size", "prompt", "style"]


def test_every_problem_of_a_prompt_is_answered() -> None:
    with pytest.raises(errors.WorkflowInvalid) as caught:
        read_declared(prompt(n2=input_node("prompt", "Int"), n3=input_node("n", "Int", value="x")))
    assert caught.value.errors is not None
    assert sorted(detail["loc"][-1] for detail in caught.value.errors) == ["2", "3"]
    assert "(and 1 more)" in caught.value.message


def test_merging_without_stored_rows_is_a_first_deploy() -> None:
    declared = read_declared(prompt())
    assert merge_rows(declared, [], []) == first_rows(declared)


def test_thousands_of_optional_inputs_take_no_minutes() -> None:
    count = 4000
    nodes: Prompt = {str(number): input_node(f"i{number}", required=False) for number in range(count)}
    nodes |= {f"1{number:05}": {"class_type": "A", "inputs": {"a": [str(number), 0]}} for number in range(count)}
    declared = read_declared(nodes)
    started = time.thread_time()
    settled = settle(declared.prompt, *first_rows(declared), [], [])
    assert len(settled.warnings) == count + 1
    # Half a second of work; it is minutes where each input looks at every node.
    assert time.thread_time() - started < 15

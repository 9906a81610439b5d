"""Explicit inputs and outputs on top of the declared rows, without HTTP."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import InputType
from runflow.workflows.interface.declared import read_declared
from runflow.workflows.interface.overrides import override
from runflow.workflows.interface.rows import MANUAL, NODE, InputRow, OutputRow
from tests.support.workflow_prompts import output_node, prompt

PROMPT = prompt(n11=output_node("image"))
DECLARED = read_declared(PROMPT)


def applied(*stated: dict[str, Any]) -> tuple[InputRow, ...]:
    rows, faults = override(InputRow, DECLARED.inputs, stated, PROMPT)
    assert faults == []
    return rows


def test_only_what_is_sent_changes() -> None:
    (row,) = applied({"name": "prompt", "is_required": False})
    assert row == replace(DECLARED.inputs[0], is_required=False)
    assert row.node_widgets == DECLARED.inputs[0].node_widgets


def test_null_clears_texts_and_defaults_and_leaves_the_rest() -> None:
    (row,) = applied({"name": "prompt", "default_value": "a", "sort_order": 4, "is_required": False})
    (again,), _ = override(
        InputRow, [row], [{"name": "prompt", "default_value": None, "sort_order": None, "description": None}], PROMPT
    )
    assert (again.default_value, again.sort_order, again.description, again.is_required) == (None, 4, "", False)


def test_what_a_run_uses_anyway_is_no_default_when_it_is_sent_back() -> None:
    shown = replace(
        DECLARED.inputs[0], variable_type_code=InputType.FLOAT, is_required=False, effective_default=8.0, origin=MANUAL
    )
    for sent, default in ((8.0, None), (8, None), ("8", 8.0), (9, 9.0)):
        (row,), faults = override(InputRow, [shown], [{"name": "prompt", "default_value": sent}], PROMPT)
        assert (row.default_value, faults) == (default, [])


def test_an_empty_label_is_the_name() -> None:
    assert applied({"name": "prompt", "display_name": ""})[0].display_name == "prompt"


def test_a_new_name_makes_a_manual_row() -> None:
    _, row = applied(
        {"name": "s", "variable_type_code": InputType.INT, "comfyui_node_id": "7", "comfyui_field_name": "seed"}
    )
    assert (row.origin, row.node_widgets, row.display_name) == (MANUAL, None, "s")


def test_the_same_target_stays_a_node_row() -> None:
    (row,) = applied({"name": "prompt", "comfyui_node_id": "1", "comfyui_field_name": "value"})
    assert row.origin == NODE


def test_outputs_of_one_name_are_chosen_by_node() -> None:
    stated = [{"name": "image", "comfyui_node_id": "11", "display_name": "Second"}]
    rows, faults = override(OutputRow, DECLARED.outputs, stated, PROMPT)
    assert faults == []
    assert {row.comfyui_node_id: row.display_name for row in rows} == {"10": "image", "11": "Second"}
    stated = [{"name": "image", "variable_type_code": InputType.IMAGE, "comfyui_node_id": "9"}]
    rows, faults = override(OutputRow, DECLARED.outputs, stated, PROMPT)
    assert [(row.comfyui_node_id, row.origin) for row in rows] == [("10", NODE), ("11", NODE), ("9", MANUAL)]
    _, faults = override(OutputRow, DECLARED.outputs, [{**stated[0], "comfyui_node_id": "99"}], PROMPT)
    assert [(fault.index, fault.field) for fault in faults] == [(0, "comfyui_node_id")]


def test_a_live_row_is_meant_before_a_deleted_one() -> None:
    gone = replace(DECLARED.inputs[0], deleted=True, comfyui_node_id="3")
    rows, _ = override(InputRow, [gone, *DECLARED.inputs], [{"name": "prompt", "display_name": "x"}], PROMPT)
    assert [(row.deleted, row.display_name) for row in rows] == [(True, "Prompt"), (False, "x")]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from(["prompt", "a", "b"])},
            optional={
                "variable_type_code": st.sampled_from(list(InputType)),
                "comfyui_node_id": st.sampled_from(["1", "7", "99"]),
                "comfyui_field_name": st.sampled_from(["value", "seed", "nope"]),
                "default_value": st.none() | st.integers() | st.text(max_size=3) | st.booleans(),
                "display_name": st.none() | st.text(max_size=3),
                "is_required": st.none() | st.booleans(),
            },
        ),
        max_size=4,
    )
)
def test_names_stay_unique_and_stating_it_again_changes_nothing(stated: list[dict[str, Any]]) -> None:
    rows, faults = override(InputRow, DECLARED.inputs, stated, PROMPT)
    assert len({row.name for row in rows}) == len(rows)
    if not faults:
        assert override(InputRow, rows, stated, PROMPT) == (rows, [])


def test_a_name_that_no_node_declares_is_told_those_that_are() -> None:
    _, (fault,) = override(InputRow, DECLARED.inputs, [{"name": "promt"}], PROMPT)
    assert fault.message.startswith('No Runflow node declares "promt" (they declare: prompt), so a row for it needs')

"""Merging an interface's rows with a new prompt: the rules of docs/api/workflows.md, as examples and as properties."""

import time
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import InputSpec, InputType, Limits
from runflow.workflows.interface.rows import (
    MANUAL,
    NODE,
    InputRow,
    Merged,
    OutputRow,
    input_of_node,
    live,
    merge,
    restore,
    row_of_version,
)

STRING, INT = InputType.STRING, InputType.INT


def declared(name: str, node: str = "1", kind: InputType = STRING, **widgets: Any) -> InputRow:
    said = {
        "display_name": name,
        "description": "",
        "is_required": True,
        "default_value": None,
        "sort_order": 0,
        **widgets,
    }
    return InputRow(
        name=name,
        variable_type_code=kind,
        comfyui_node_id=node,
        comfyui_field_name="value",
        origin=NODE,
        node_widgets=said,
        **said,
    )


def output(name: str, node: str, **widgets: Any) -> OutputRow:
    said = {"display_name": name, "description": "", "sort_order": 0, **widgets}
    return OutputRow(
        name=name,
        variable_type_code=InputType.IMAGE,
        comfyui_node_id=node,
        comfyui_field_name="value",
        origin=NODE,
        node_widgets=said,
        **said,
    )


def manual(name: str, node: str = "7", field: str = "seed") -> InputRow:
    return InputRow(
        name=name,
        variable_type_code=INT,
        comfyui_node_id=node,
        comfyui_field_name=field,
        origin=MANUAL,
        display_name=name,
    )


def kept(row: Any, **changes: Any) -> Any:
    """The row as stored, with what a person changed."""
    return replace(row, id=uuid4(), **changes)


def everywhere(_row: Any) -> bool:
    return True


def nowhere(_row: Any) -> bool:
    return False


def test_new_nodes_make_rows() -> None:
    merged = merge([], [declared("prompt"), declared("style", "2")], everywhere)
    assert [row.name for row in merged.live] == ["prompt", "style"]
    assert merged.dropped == ()


def test_a_row_keeps_its_identity_when_its_node_is_replaced() -> None:
    old = kept(declared("prompt", "1"))
    merged = merge([old], [declared("prompt", "44")], everywhere)
    assert merged.rows[0].id == old.id
    assert merged.rows[0].comfyui_node_id == "44"


@pytest.mark.parametrize("field", ["display_name", "description", "default_value"])
def test_what_a_person_changed_survives_until_the_widget_changes(field: str) -> None:
    first = declared("prompt")
    old = kept(first, **{field: "mine"})
    assert getattr(merge([old], [first], everywhere).rows[0], field) == "mine"
    theirs: dict[str, Any] = {field: "theirs"}
    again = merge([old], [declared("prompt", **theirs)], everywhere).rows[0]
    assert getattr(again, field) == "theirs"
    assert again.node_widgets is not None
    assert again.node_widgets[field] == "theirs"


def test_a_required_flag_that_a_person_changed_survives() -> None:
    old = kept(declared("prompt"), is_required=False)
    assert not merge([old], [declared("prompt", description="New")], everywhere).rows[0].is_required


def test_an_edit_of_one_field_does_not_hide_the_widgets_of_others() -> None:
    old = kept(declared("prompt"), display_name="Mine")
    again = merge([old], [declared("prompt", description="New help")], everywhere).rows[0]
    assert (again.display_name, again.description) == ("Mine", "New help")


def test_what_nobody_changed_follows_the_widget() -> None:
    old = kept(declared("prompt", display_name="One"))
    assert merge([old], [declared("prompt", display_name="Two")], everywhere).rows[0].display_name == "Two"


def test_after_the_widget_won_it_is_the_new_ground() -> None:
    old = kept(declared("prompt", display_name="One"), display_name="Mine")
    second = merge([old], [declared("prompt", display_name="Two")], everywhere).rows[0]
    third = merge([kept(second)], [declared("prompt", display_name="Two")], everywhere).rows[0]
    assert third.display_name == "Two"


def test_an_order_that_a_person_gave_survives_new_neighbours() -> None:
    old = kept(declared("prompt", sort_order=0), sort_order=9)
    untouched = kept(declared("style", "2", sort_order=1))
    merged = merge(
        [old, untouched], [declared("prompt", sort_order=1), declared("style", "2", sort_order=2)], everywhere
    )
    assert {row.name: row.sort_order for row in merged.rows} == {"prompt": 9, "style": 2}


def test_another_type_takes_back_default_and_validator() -> None:
    old = kept(declared("size", kind=INT), default_value=5, validator_code="range", validator_attrs={"min": 1})
    again = merge([old], [declared("size", kind=STRING)], everywhere).rows[0]
    assert (again.variable_type_code, again.default_value, again.validator_code) == (STRING, None, None)


def test_validators_survive() -> None:
    old = kept(declared("size", kind=INT), validator_code="range", default_behavior_code="x")
    again = merge([old], [declared("size", "5", kind=INT, display_name="New")], everywhere).rows[0]
    assert (again.validator_code, again.default_behavior_code) == ("range", "x")


def limited(**limits: Any) -> InputRow:
    return input_of_node(
        InputSpec("size", INT, "size", "", True, None, 0, "1", "value", "node", limits=Limits.of(INT, limits))
    )


def test_the_limits_of_a_node_are_its_rows() -> None:
    row = limited(min=1)
    assert (row.validator_attrs, (row.node_widgets or {})["validator_attrs"]) == ({"min": 1}, {"min": 1})
    assert merge([kept(row)], [limited(min=2)], everywhere).rows[0].validator_attrs == {"min": 2}
    assert merge([kept(row)], [limited()], everywhere).rows[0].validator_attrs is None


def test_limits_that_a_person_gave_stay_until_the_node_says_others() -> None:
    # A node without limits says what it said before nodes had any.
    assert "validator_attrs" not in (limited().node_widgets or {})
    said: dict[str, int]
    for said in ({}, {"min": 1}):
        edited = kept(limited(**said), validator_attrs={"max": 9})
        assert merge([edited], [limited(**said)], everywhere).rows[0].validator_attrs == {"max": 9}
        assert merge([edited], [limited(min=5)], everywhere).rows[0].validator_attrs == {"min": 5}


def test_a_row_whose_node_vanished_is_dropped() -> None:
    old = kept(declared("prompt"))
    merged = merge([old], [declared("other")], everywhere)
    assert merged.dropped == (old,)
    assert [row.name for row in merged.rows] == ["other"]


def test_a_row_deleted_by_hand_stays_deleted_until_the_id_changes() -> None:
    gone = kept(declared("prompt"), deleted=True)
    merged = merge([gone], [declared("prompt", display_name="New")], everywhere)
    assert merged.live == ()
    assert merged.rows[0].deleted
    assert [row.name for row in merge([gone], [declared("prompt2")], everywhere).live] == ["prompt2"]
    forgotten = merge([gone], [declared("prompt2")], everywhere)
    assert forgotten.dropped == (gone,)
    assert [row.name for row in merge(forgotten.rows, [declared("prompt")], everywhere).live] == ["prompt"]


def test_a_manual_row_survives_while_its_target_exists() -> None:
    seed = kept(manual("seed"))
    assert merge([seed], [], everywhere).rows == (seed,)
    assert merge([seed], [], nowhere).dropped == (seed,)


def test_a_manual_row_stands_in_for_a_node_of_its_name_until_its_target_is_gone() -> None:
    mine = kept(manual("prompt", "7", "text"))
    node = declared("prompt")
    assert merge([mine], [node], everywhere).rows == (mine,)
    assert merge([mine], [node], nowhere).rows == (node,)


def test_a_manual_row_gives_way_to_a_runflow_node_at_its_target() -> None:
    mine = kept(manual("old name", "3", "value"))
    merged = merge([mine], [declared("new name", "3")], everywhere)
    assert [row.name for row in merged.live] == ["new name"]
    assert merged.dropped == (mine,)


def test_a_manual_row_may_take_the_place_of_a_deleted_node_row() -> None:
    gone = kept(declared("a", "3"), deleted=True)
    mine = kept(manual("subject", "3", "value"))
    merged = merge([gone, mine], [declared("a", "3")], everywhere)
    assert [row.name for row in merged.live] == ["subject"]
    assert merged.dropped == ()


def test_outputs_of_one_name_are_told_apart_by_their_node() -> None:
    first = kept(output("image", "1"), display_name="First")
    second = kept(output("image", "2"), display_name="Second")
    merged = merge([first, second], [output("image", "2"), output("image", "1")], everywhere)
    assert {row.comfyui_node_id: row.display_name for row in merged.rows} == {"1": "First", "2": "Second"}
    merged = merge([first, second], [output("image", "2"), output("image", "8")], everywhere)
    assert {row.comfyui_node_id: row.id for row in merged.rows} == {"2": second.id, "8": first.id}


def test_live_rows_come_in_order() -> None:
    rows = [
        declared("c", "10", sort_order=1),
        declared("b", "9", sort_order=1),
        declared("a", "1", sort_order=2),
        kept(declared("gone"), deleted=True),
    ]
    assert [row.name for row in live(rows)] == ["b", "c", "a"]


NAMES = st.sampled_from(["a", "b", "c", "d"])
NODES = st.sampled_from(["1", "2", "3", "9:1"])


@st.composite
def declarations(draw: st.DrawFn) -> list[InputRow]:
    names = draw(st.lists(NAMES, unique=True))
    nodes = draw(st.permutations(["1", "2", "3", "9:1"]))
    return [
        declared(
            name,
            node,
            draw(st.sampled_from([STRING, INT])),
            display_name=draw(st.sampled_from(["x", "y"])),
            is_required=draw(st.booleans()),
            sort_order=at,
        )
        for at, (name, node) in enumerate(zip(names, nodes, strict=False))
    ]


@st.composite
def stored_rows(draw: st.DrawFn) -> list[InputRow]:
    rows: list[InputRow] = [
        kept(row, deleted=draw(st.booleans()), display_name=draw(st.sampled_from(["x", "y", "mine"])))
        for row in draw(declarations())
    ]
    taken = {row.name for row in rows if not row.deleted}
    for name in draw(st.lists(NAMES, unique=True)):
        if name not in taken:
            rows.append(kept(manual(name, draw(st.sampled_from(["7", "8"])), f"field {name}")))
    return rows


@given(stored_rows(), declarations(), st.booleans())
def test_every_stored_row_is_kept_once_or_dropped(
    rows: list[InputRow], nodes: list[InputRow], targets_exist: bool
) -> None:
    merged = merge(rows, nodes, everywhere if targets_exist else nowhere)
    kept_ids = [row.id for row in merged.rows if row.id]
    dropped = [row.id for row in merged.dropped]
    assert sorted(map(str, kept_ids + dropped)) == sorted(str(row.id) for row in rows)


@given(stored_rows(), declarations(), st.booleans())
def test_callers_see_each_name_once_and_each_declared_or_deleted(
    rows: list[InputRow], nodes: list[InputRow], targets_exist: bool
) -> None:
    merged = merge(rows, nodes, everywhere if targets_exist else nowhere)
    names = [row.name for row in merged.live]
    assert len(names) == len(set(names))
    hidden = {row.name for row in merged.rows if row.deleted}
    assert {row.name for row in nodes} <= set(names) | hidden
    assert {row.name for row in merged.rows if row.origin == NODE} <= {row.name for row in nodes}
    targets = [row.target for row in merged.live]
    assert len(targets) == len(set(targets))


@given(stored_rows(), declarations())
def test_merging_the_same_prompt_again_changes_nothing(rows: list[InputRow], nodes: list[InputRow]) -> None:
    once = merge(rows, nodes, everywhere)
    again = merge([replace(row, id=row.id or uuid4()) for row in once.rows], nodes, everywhere)
    assert _by_name(again) == _by_name(once)
    assert again.dropped == ()


def _by_name(merged: Merged[InputRow]) -> dict[tuple[str, bool], InputRow]:
    return {(row.name, row.deleted): row for row in merged.rows}


def test_identity_does_not_count_as_a_difference() -> None:
    assert kept(declared("a")) == replace(declared("a"), id=UUID(int=0))


def test_the_tombstone_of_a_manual_row_stays_and_stands_for_nothing() -> None:
    gone = kept(manual("seed"), deleted=True)
    assert gone.is_gone
    merged = merge([gone], [declared("seed")], everywhere)
    assert ([row.origin for row in merged.live], gone in merged.rows, merged.dropped) == ([NODE], True, ())


def test_a_version_comes_back_exactly() -> None:
    node, hand = declared("prompt"), manual("seed")
    edited = replace(node, display_name="Mine", node_widgets=None)
    newer = kept(manual("steps", field="steps"))
    today = [kept(node, display_name="Other"), newer]
    merged = restore([edited, hand], [node], today)
    assert [(row.name, row.display_name) for row in merged.rows] == [("prompt", "Mine"), ("seed", "seed")]
    assert (merged.rows[0].id, merged.rows[1].id, merged.dropped) == (today[0].id, None, (newer,))
    # What the node says is known again, so the edit survives the next deploy of the same node.
    assert merge([kept(row) for row in merged.rows], [node], everywhere).rows[0].display_name == "Mine"


def test_what_the_version_did_not_have_is_deleted_by_hand_again() -> None:
    first, second = declared("prompt"), declared("style", "2")
    today = [kept(first), kept(second)]
    merged = restore([first], [first, second], today)
    assert [(row.name, row.deleted, row.id) for row in merged.rows] == [
        ("prompt", False, today[0].id),
        ("style", True, today[1].id),
    ]
    assert [row.name for row in merge(merged.rows, [first, second], everywhere).live] == ["prompt"]


def test_a_live_row_lends_its_id_before_a_deleted_one() -> None:
    dead, alive = kept(declared("prompt"), deleted=True), kept(declared("prompt", "4"))
    merged = restore([declared("prompt")], [declared("prompt")], [dead, alive])
    assert (merged.rows[0].id, merged.dropped) == (alive.id, (dead,))


def test_a_frozen_row_is_read_with_what_came_later() -> None:
    frozen = {
        "name": "seed", "variable_type_code": "int", "display_name": "Seed", "description": "", "is_required": False,
        "default_value": 7, "sort_order": 2, "comfyui_node_id": "7", "comfyui_field_name": "seed", "origin": MANUAL,
        "validator_attrs": {"min": 0}, "unknown": 1,
    }  # fmt: skip
    row = row_of_version(InputRow, frozen)
    assert (row.variable_type_code, row.default_value, row.validator_attrs) == (INT, 7, {"min": 0})
    assert (row.id, row.deleted, row.node_widgets) == (None, False, None)


def test_thousands_of_rows_of_one_name_are_merged_in_no_time() -> None:
    rows = [output("same", str(at)) for at in range(9_000)]
    before = [replace(row, id=uuid4()) for row in rows]
    started = time.thread_time()
    merged = merge(before, [*rows[1:], output("same", "new")], lambda _row: True)
    assert [row.id for row in merged.rows] == [row.id for row in (*before[1:], before[0])]
    assert time.thread_time() - started < 2

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import MAX_NODES, PromptError, check_prompt, describe_node, node_order
from runflow.graph.prompt import copy_json
from tests.plugin.graph.prompt_strategies import few_examples, prompts

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def node(class_type: str = "AnyNode", /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def refusal(prompt: object) -> PromptError:
    with pytest.raises(PromptError) as raised:
        check_prompt(prompt)
    assert all(problem.message and problem.next_step for problem in raised.value.problems)
    return raised.value


@few_examples
@given(prompts())
def test_well_formed_prompts_pass(prompt: dict[str, Any]) -> None:
    assert check_prompt(prompt) is prompt


@given(json_values)
def test_anything_else_is_refused_and_never_crashes(value: object) -> None:
    try:
        check_prompt(value)
    except PromptError as error:
        assert error.problems


def test_the_ui_format_is_refused_with_the_way_to_export() -> None:
    graph = {"last_node_id": 3, "nodes": [{"id": 3, "type": "KSampler"}], "links": [], "version": 0.4}
    assert "Export (API)" in str(refusal(graph))


@pytest.mark.parametrize("value", [None, [], "prompt", 3, True])
def test_what_is_no_object_is_refused(value: object) -> None:
    assert "not a JSON object" in str(refusal(value))


def test_a_prompt_as_json_text_is_told_so() -> None:
    assert str(refusal('{"1": {}}')) == "The workflow is a JSON object as text. Send the object itself."


def test_a_wrapped_prompt_is_refused_with_the_key_to_unwrap() -> None:
    assert 'wrapped in an object with the key "prompt"' in str(refusal({"prompt": {"1": node()}, "client_id": "x"}))


def test_an_empty_prompt_is_refused() -> None:
    assert "no nodes" in str(refusal({}))


def test_each_malformed_node_is_named() -> None:
    error = refusal({"1": node(), "2": [], "3": {"inputs": {}}, "4": {"class_type": "A"}, "": node(), "6": 5})
    assert [problem.node_id for problem in error.problems] == ["2", "3", "4", None, "6"]


def test_a_link_to_a_missing_node_names_both_ends() -> None:
    prompt = {"1": {**node("SaveImage", images=["7", 0]), "_meta": {"title": "Save it"}}}
    (problem,) = refusal(prompt).problems
    assert (problem.node_id, problem.class_type, problem.title) == ("1", "SaveImage", "Save it")
    assert 'Input "images" of node 1 "Save it" (SaveImage) is linked to node 7' in problem.message


@pytest.mark.parametrize("slot", [-1, 0.0, 1.5, "0", None, True])
def test_a_link_with_a_bad_slot_is_refused(slot: object) -> None:
    assert "output slot" in str(refusal({"1": node(), "2": node(a=["1", slot])}))


@pytest.mark.parametrize("literal", [[], [1, 2], ["1"], ["1", 0, 0], [[1, 2], [3, 4]], ["no such node", "x"]])
def test_lists_that_are_no_links_stay_literals(literal: list[Any]) -> None:
    check_prompt({"1": node(points=literal)})


def test_a_circle_is_refused_with_its_nodes() -> None:
    error = refusal({"1": node(a=["3", 0]), "2": node(a=["1", 0]), "3": node(a=["2", 0]), "4": node(a=["3", 0])})
    assert "depend on each other in a circle" in str(error)
    assert refusal({"1": node(a=["1", 0])}).problems[0].message.startswith("The nodes 1 -> 1 depend")


def test_a_chain_as_long_as_allowed_passes_and_one_more_node_does_not() -> None:
    chain = {str(n): node(**({"a": [str(n + 1), 0]} if n < MAX_NODES - 1 else {})) for n in range(MAX_NODES)}
    check_prompt(chain)
    assert "10001 nodes; at most 10000" in str(refusal({**chain, "one more": node()}))


def test_nodes_with_many_paths_between_them_are_visited_once() -> None:
    layers = 60  # 2**60 paths lead through them
    prompt = {"0": node()}
    for n in range(1, layers):
        prompt[str(n)] = node(a=[str(n - 1), 0], b=[str(n - 1), 1])
    check_prompt(dict(reversed(prompt.items())))


def test_many_problems_are_cut_with_their_number() -> None:
    error = refusal({str(n): [] for n in range(200)})
    assert len(error.problems) == 51
    assert "150 more problems" in str(error)


def test_node_order_puts_numbers_first_and_subgraph_nodes_behind_their_parent() -> None:
    ids = ["b", "10", "9:12", "9:3", "9", "2", "a", "9" * 5000, "09"]
    assert sorted(ids, key=node_order) == ["2", "09", "9", "9:3", "9:12", "10", "9" * 5000, "a", "b"]


def test_a_node_is_described_by_id_title_and_class() -> None:
    prompt = {
        "1": node("KSampler"),
        "2": {**node("KSampler"), "_meta": {"title": "Refine"}},
        "3": {**node("A"), "_meta": 5},
    }
    described = [describe_node(prompt, node_id) for node_id in ("1", "2", "3", "4")]
    assert described == ["node 1 (KSampler)", 'node 2 "Refine" (KSampler)', "node 3 (A)", "node 4"]


@given(json_values)
def test_a_copy_is_equal_and_shares_nothing(value: object) -> None:
    copied = copy_json(value)
    assert copied == value
    if isinstance(value, (dict, list)) and value:
        copied.clear()
        assert copied != value

"""The runtime fingerprint: the same for what installs the same, different for what does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.workflows.fingerprint import PREFIX, fingerprint
from tests.support.workflow_prompts import plugin_body

ENVIRONMENT: dict[str, Any] = plugin_body()["environment"]
NODES: dict[str, Any] = plugin_body()["custom_nodes"]


def test_it_is_stable_across_releases() -> None:
    assert fingerprint(ENVIRONMENT, NODES) == "rt1-abb4616ab65c30b68e7cbca4eb548880"
    assert (
        fingerprint(None, None) == fingerprint({}, {}) == fingerprint({}, []) == "rt1-f134256a3764b15a45eebbc051f820c8"
    )


@pytest.mark.parametrize(
    "environment",
    [
        {**ENVIRONMENT, "packages": ENVIRONMENT["packages"][::-1]},
        {**ENVIRONMENT, "packages": {"pillow": "11.0", "torch": "2.13.0+cpu"}},
        {**ENVIRONMENT, "cached_models": {"huggingface": ["x"]}},
        {**ENVIRONMENT, "comfyui": {**ENVIRONMENT["comfyui"], "dirty": True}},
        {
            **ENVIRONMENT,
            "comfyui": {**ENVIRONMENT["comfyui"], "origin": "https://github.com/comfyanonymous/ComfyUI.git"},
        },
    ],
)
def test_what_installs_the_same_has_one_fingerprint(environment: Any) -> None:
    assert fingerprint(environment, NODES) == fingerprint(ENVIRONMENT, NODES)


def test_custom_nodes_may_be_an_array() -> None:
    as_array = [{"name": name, **node} for name, node in NODES.items()]
    assert fingerprint(ENVIRONMENT, as_array) == fingerprint(ENVIRONMENT, NODES)


@pytest.mark.parametrize(
    ("environment", "nodes"),
    [
        ({**ENVIRONMENT, "comfyui": {**ENVIRONMENT["comfyui"], "commit": "f" * 40}}, NODES),
        ({**ENVIRONMENT, "packages": []}, NODES),
        ({**ENVIRONMENT, "packages": [{"name": "torch", "version": "2.14"}]}, NODES),
        (ENVIRONMENT, {}),
        (ENVIRONMENT, {"Other": NODES["ComfyUI-Runflow"]}),
        (ENVIRONMENT, {"ComfyUI-Runflow": {**NODES["ComfyUI-Runflow"], "commit": "f" * 40}}),
    ],
)
def test_what_installs_another_thing_has_another(environment: Any, nodes: Any) -> None:
    assert fingerprint(environment, nodes) != fingerprint(ENVIRONMENT, NODES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["comfyui", "packages", "name", "commit"]), inner)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_any_json_has_a_fingerprint(environment: Any, nodes: Any) -> None:
    found = fingerprint(environment, nodes)
    assert found == fingerprint(environment, nodes)
    assert found.startswith(PREFIX)
    assert len(found) == len(PREFIX) + 32

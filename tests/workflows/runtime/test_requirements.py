"""What a version needs, from its documents as anybody sent them."""

from typing import Any

import pytest

from runflow.ids import new_id
from runflow.workflows.runtime.requirements import NeededModel, NeededPack, Requirements, requirements_of

ORG = new_id()


def of(prompt: Any = None, **more: Any) -> Requirements:
    return requirements_of(ORG, prompt or {}, **more)


def test_every_class_of_the_prompt_is_needed() -> None:
    prompt = {"1": {"class_type": "B", "inputs": {}}, "2": {"class_type": "A", "inputs": {}}, "3": {"class_type": "A"}}
    assert of(prompt).node_types == ("A", "B")


@pytest.mark.parametrize(
    "models",
    [
        {"vae/a.pt": {"sha256": "A" * 64, "url": "https://x"}, "loras/b.safetensors": {}},
        [
            {"path": "vae/a.pt", "sha256": "a" * 64, "url": "http://y/z"},
            {"name": "loras/b.safetensors", "sha256": "not one"},
        ],
    ],
)
def test_models_come_as_an_object_or_an_array(models: Any) -> None:
    first = NeededModel("vae/a.pt", "a" * 64, has_address=True)
    assert of(models=models).models == (first, NeededModel("loras/b.safetensors"))
    assert not of(models={"vae/a.pt": {"url": "file:///etc/passwd"}}).models[0].has_address


def test_packs_with_their_classes_and_without_the_plugin_that_every_worker_brings() -> None:
    packs = {
        "Impact": {"origin": "https://x", "commit": "c", "classes": ["X", 7]},
        "ComfyUI-Runflow": {"origin": "https://y"},
        "bare": {},
    }
    wanted = (NeededPack("Impact", "https://x", "c", frozenset({"X"})), NeededPack("bare"))
    assert of(custom_nodes=packs).packs == wanted
    assert of(custom_nodes=[{"name": "Impact", "url": "https://x"}]).packs == (NeededPack("Impact", "https://x"),)


def test_the_comfyui_that_it_was_made_with() -> None:
    found = of(environment={"comfyui": {"version": "0.30.0", "commit": "c"}})
    assert (found.comfyui_version, found.comfyui_commit) == ("0.30.0", "c")


@pytest.mark.parametrize("junk", [None, [], {}, "text", 7, [1, None], {"a": 1, "b": [None]}, {"": {}}, [{"path": {}}]])
def test_what_cannot_be_understood_asks_for_nothing_and_breaks_nothing(junk: Any) -> None:
    found = requirements_of(ORG, junk, models=junk, custom_nodes=junk, environment=junk)
    assert found.node_types == ()
    assert all(isinstance(model.path, str) for model in found.models)


@pytest.mark.parametrize("strange", [[], {}, 5, None, "", ["A"]])
def test_a_node_without_a_class_asks_for_none(strange: Any) -> None:
    prompt = {"1": {"class_type": strange}, "2": {"class_type": "A"}}
    assert requirements_of(new_id(), prompt).node_types == ("A",)

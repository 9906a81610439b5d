"""Warnings about files that a prompt names and no run would find."""

import time
from typing import Any

import httpx
import pytest

from runflow.graph import Interface, read_interface
from runflow.workflows.warnings import about_input_files, about_named_models
from tests.support.workflow_calls import ROUTE, created
from tests.support.workflow_prompts import body, input_node, prompt


def loads(name: Any, class_type: str = "LoadImage", field: str = "image") -> dict[str, Any]:
    nodes = prompt(n3={"class_type": class_type, "inputs": {field: name}})
    nodes["7"]["inputs"]["picture"] = ["3", 0]
    return nodes


def about(nodes: dict[str, Any], *resources: str) -> list[str | None]:
    return [warning.node_id for warning in about_input_files(nodes, read_interface(nodes), resources)]


@pytest.mark.parametrize(
    ("class_type", "field"),
    [("LoadImage", "image"), ("LoadImageMask", "image"), ("LoadAudio", "audio"), ("LoadVideo", "file")],
)
def test_a_file_that_is_no_resource(class_type: str, field: str) -> None:
    assert about(loads("a/photo.png", class_type, field)) == ["3"]
    assert about(loads("a/photo.png", class_type, field), "a/photo.png") == []


def test_spellings_of_one_path() -> None:
    for name in ("photo.png [input]", "./photo.png", "photo.png"):
        assert about(loads(name), "photo.png") == []
    assert about(loads("a\\photo.png"), "a/photo.png") == []
    assert about(loads("photo.png [output]"), "photo.png") == ["3"]


def test_what_is_wired_or_unused_or_bound_is_no_fixed_file() -> None:
    nodes = loads(["9", 0])
    nodes["9"]["inputs"].pop("source")
    assert about(nodes) == []
    unused = prompt(n3={"class_type": "LoadImage", "inputs": {"image": "photo.png"}})
    assert about(unused) == []
    nodes = loads("photo.png")
    spec = {"name": "photo", "variable_type_code": "image", "comfyui_node_id": "3", "comfyui_field_name": "image"}
    assert list(about_input_files(nodes, Interface.from_dict({"inputs": [spec]}), [])) == []


def test_what_only_feeds_a_wire_that_values_replace_is_needed_by_no_run() -> None:
    nodes = prompt(
        n2=input_node("photo", "Image", value=["4", 0]),
        n3={"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        n4={"class_type": "ImageScale", "inputs": {"image": ["3", 0], "width": 64}},
        n5={"class_type": "UpscaleModelLoader", "inputs": {"model_name": "big.pth"}},
    )
    nodes["4"]["inputs"]["model"] = ["5", 0]
    nodes["7"]["inputs"]["picture"] = ["2", 0]
    assert about(nodes) == []
    assert list(about_named_models(nodes, read_interface(nodes), {"other.pth": {}})) == []
    nodes["8"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}
    assert about(nodes) == ["3"]
    nodes["2"]["inputs"]["input_id"] = ""
    assert about(nodes) == ["3"]


def test_a_wire_that_an_omission_keeps_is_needed() -> None:
    spec = {"name": "picture", "variable_type_code": "image", "comfyui_node_id": "7", "comfyui_field_name": "picture"}
    nodes = loads("example.png")
    for optional, warned in (({}, []), ({"is_required": False}, ["3"])):
        interface = Interface.from_dict({"inputs": [spec | optional]})
        assert [warning.node_id for warning in about_input_files(nodes, interface, [])] == warned


def test_an_address_is_no_file_of_the_input_folder() -> None:
    nodes = loads("https://example.com/photo.png")
    (warning,) = about_input_files(nodes, read_interface(nodes), [])
    assert 'names the address "https://example.com/photo.png"' in warning.message
    assert "every run fails" in warning.message
    assert 'Make its "image" an input' in warning.next_step


def test_a_default_that_is_no_resource() -> None:
    nodes = prompt(n2=input_node("script", "File", required=False, file_name="a.txt"))
    assert about(nodes) == ["2"]
    assert about(nodes, "a.txt") == []
    assert about(prompt(n2=input_node("script", "File", required=True, file_name="a.txt"))) == []


def test_models_that_the_manifest_lacks() -> None:
    nodes = prompt(
        n2={"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sub/a.safetensors"}},
        n3={"class_type": "LoraLoader", "inputs": {"lora_name": "b.SAFETENSORS", "note": "c.txt"}},
    )
    interface = read_interface(nodes)

    def named(models: Any) -> list[str | None]:
        return [warning.node_id for warning in about_named_models(nodes, interface, models)]

    assert named(None) == named({}) == []
    assert named({"checkpoints/sub/a.safetensors": {}}) == ["3"]
    assert named([{"path": "checkpoints/sub/a.safetensors"}, {"name": "loras/b.SAFETENSORS"}]) == []
    assert named({"checkpoints/other-a.safetensors": {}}) == ["2", "3"]


async def test_create_and_patch_answer_them(client: httpx.AsyncClient) -> None:
    made = await created(client, body(workflow_json=loads("photo.png")))
    assert [item["node_id"] for item in made["warnings"]] == ["3"]
    assert "photo.png" in made["warnings"][0]["message"]
    address = f"{ROUTE}/{made['id']}"
    changed = (await client.patch(address, json={"models": {"a.ckpt": {"url": "u", "sha256": "0" * 64}}})).json()
    assert [item["node_id"] for item in changed["warnings"]] == ["3"]
    assert (await client.patch(address, json={"description": "x"})).json()["warnings"] == []
    placed = {"photo.png": {"asset_id": "0197f3a0-0000-7000-8000-000000000001"}}
    changed = (await client.patch(address, json={"resources": placed})).json()
    assert ["no asset" in item["message"] for item in changed["warnings"]] == [True]


def test_the_time_does_not_grow_with_names_times_paths() -> None:
    nodes: dict[str, Any] = {
        str(at): {"class_type": "A", "inputs": {"name": f"m{at}.pt", "image": "x"}} for at in range(5000)
    }
    nodes["0"]["inputs"] |= {"deep": "b/c.pt", "spaces": " " * 1_000_000 + "x.pt"}
    models: dict[str, Any] = {f"models/{at}/n{at}.pt": {} for at in range(20_000)} | {"models/a/b/c.pt": {}}
    started = time.thread_time()
    found = list(about_named_models(nodes, read_interface(nodes), models))
    assert time.thread_time() - started < 5
    assert len(found) == 5001 and not any("b/c.pt" in warning.message for warning in found)

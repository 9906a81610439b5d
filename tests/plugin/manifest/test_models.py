from pathlib import Path
from typing import Any

import pytest

from plugin.manifest.model_sources import ModelSource, model_sources, same_kind
from plugin.manifest.models import ModelFile, find_models, model_entry, with_forward_slashes
from tests.support.catalogue import FakeCatalogue, write

SHA = "a" * 64


def prompt(**nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


@pytest.fixture
def catalogue(tmp_path: Path) -> FakeCatalogue:
    models, elsewhere = tmp_path / "models", tmp_path / "big disk"
    for path in (
        "checkpoints/sdxl.safetensors",
        "checkpoints/same.safetensors",
        "loras/same.safetensors",
        "loras/sub/fine.safetensors",
        "loras/other.safetensors",
        "unet/flux.safetensors",
        "clip/t5.safetensors",
        "embeddings/ugly.pt",
        "vae_approx/taesd_encoder.pth",
        "vae_approx/taesd_decoder.safetensors",
        "vae_approx/taesdxl_decoder.pth",
    ):
        write(models / path, path)
    write(elsewhere / "huge.safetensors")
    kinds = {
        "custom_nodes": [tmp_path],
        "checkpoints": [models / "checkpoints", elsewhere],
        "loras": [models / "loras"],
        "diffusion_models": [models / "unet", models / "diffusion_models"],
        "unet_gguf": [models / "unet"],
        "text_encoders": [models / "text_encoders", models / "clip"],
        "embeddings": [models / "embeddings"],
        "vae_approx": [models / "vae_approx"],
    }
    loras = ["same.safetensors", "sub/fine.safetensors", "other.safetensors"]
    classes = {
        "Checkpoint": (False, "nodes", {}),
        "Lora": (False, "nodes", {"lora_name": (loras, {})}),
        "LoraV3": (False, "nodes", {"lora_name": ("COMBO", {"options": loras})}),
        "Vae": (False, "nodes", {"vae_name": (["taesd", "pixel_space"], {})}),
        "Text": (False, "nodes", {"text": ("STRING", {"multiline": True})}),
    }
    return FakeCatalogue(tmp_path, classes, kinds)


def paths(catalogue: FakeCatalogue, **nodes: tuple[str, dict[str, Any]]) -> list[str]:
    given = prompt(**nodes)
    return [file.path for file in find_models(given, given, catalogue)]


def test_files_are_named_as_below_the_models_folder(catalogue: FakeCatalogue) -> None:
    found = paths(
        catalogue,
        a=("Checkpoint", {"ckpt_name": "sdxl.safetensors", "again": "sdxl.safetensors"}),
        b=("Lora", {"lora_name": "sub/fine.safetensors", "strength": 1}),
        c=("Checkpoint", {"unet_name": "flux.safetensors", "clip_name": "t5.safetensors", "seed": ["a", 0]}),
        d=("Checkpoint", {"ckpt_name": "huge.safetensors"}),  # extra_model_paths: another disk, the same kind
    )
    assert found == [
        "checkpoints/huge.safetensors",
        "checkpoints/sdxl.safetensors",
        "clip/t5.safetensors",
        "loras/sub/fine.safetensors",
        "unet/flux.safetensors",
    ]


@pytest.mark.parametrize("kind", ["Lora", "LoraV3"])
def test_a_name_in_two_folders_is_the_one_that_the_field_offers(catalogue: FakeCatalogue, kind: str) -> None:
    assert paths(catalogue, a=(kind, {"lora_name": "same.safetensors"})) == ["loras/same.safetensors"]
    both = ["checkpoints/same.safetensors", "loras/same.safetensors"]
    assert paths(catalogue, a=("Unknown", {"name": "same.safetensors"})) == both


def test_embeddings_and_tiny_vaes(catalogue: FakeCatalogue) -> None:
    assert paths(catalogue, a=("Text", {"text": "a cat, (embedding:ugly:1.2), embedding:none"})) == [
        "embeddings/ugly.pt"
    ]
    assert paths(catalogue, a=("Text", {"text": "sdxl.safetensors"})) == []
    tiny = ["vae_approx/taesd_decoder.safetensors", "vae_approx/taesd_encoder.pth"]
    assert paths(catalogue, a=("Vae", {"vae_name": "taesd"})) == tiny
    assert paths(catalogue, a=("Vae", {"vae_name": "pixel_space"})) == []


def test_only_executed_nodes_count(catalogue: FakeCatalogue) -> None:
    given = prompt(a=("Checkpoint", {"ckpt_name": "sdxl.safetensors"}))
    assert find_models(given, [], catalogue) == []


def test_declared_sources_from_nodes_subgraphs_graph_and_an_earlier_manifest() -> None:
    row = {
        "name": "a.safetensors",
        "url": "https://u:p@h/a?token=t",
        "directory": "loras",
        "hash": SHA.upper(),
        "hash_type": "SHA256",
    }
    graph = {
        "nodes": [{"properties": {"models": [row, {"name": "x"}, None, {"name": "y", "url": "file:///etc/passwd"}]}}],
        "definitions": {"subgraphs": [{"nodes": [{"properties": {"models": [{**row, "name": "b"}]}}]}]},
        "models": [{**row, "name": "c", "hash": "short"}],
        "extra": {"runflow": {"models": {"unet/sub/d": {"url": "https://h/d", "sha256": SHA}, "e": None}}},
    }
    assert model_sources(graph) == [
        ModelSource("a.safetensors", "loras", "https://h/a", SHA),
        ModelSource("b", "loras", "https://h/a", SHA),
        ModelSource("c", "loras", "https://h/a", None),
        ModelSource("d", "unet/sub", "https://h/d", SHA),
    ]
    assert model_sources({"nodes": 3, "extra": []}) == []


def test_an_entry_has_the_address_of_the_same_file_only() -> None:
    file = ModelFile("unet/sub/flux.safetensors", "diffusion_models", Path("x"))
    same = ModelSource("flux.safetensors", "diffusion_models", "https://h/same", SHA)
    other = ModelSource("flux.safetensors", "unet", "https://h/other", "b" * 64)
    elsewhere = ModelSource("flux.safetensors", "loras", "https://h/lora", None)
    facts = {"directory": "diffusion_models", "size_bytes": 3, "sha256": SHA}
    assert model_entry(file, SHA, 3, [elsewhere, other, same]) == ({**facts, "url": "https://h/same"}, None)
    entry, warning = model_entry(file, SHA, 3, [other])
    assert entry == facts
    assert warning is not None
    assert "another file" in warning
    assert model_entry(file, SHA, 3, [elsewhere]) == (facts, None)
    assert same_kind("clip", "text_encoders")
    assert not same_kind("clip", "loras")


PATHS = ["checkpoints/SDXL/base.safetensors", "ultralytics/bbox/a/face.pt", "sub/photo.png"]


def test_names_of_files_get_forward_slashes_and_nothing_else_changes() -> None:
    inputs = {"ckpt_name": "SDXL\\base.safetensors", "model": "a\\face.pt", "image": "sub\\photo.png"}
    others: dict[str, Any] = {
        "text": "a \\(white\\) base.safetensors",
        "x": "DXL\\base.safetensors",
        "n": 3,
        "l": ["1", 0],
    }
    prompt = {"1": {"class_type": "X", "inputs": {**inputs, **others}, "_meta": {}}}
    expected = {name: value.replace("\\", "/") for name, value in inputs.items()}
    assert with_forward_slashes(prompt, PATHS) == {"1": {**prompt["1"], "inputs": {**expected, **others}}}
    assert prompt["1"]["inputs"] == {**inputs, **others}

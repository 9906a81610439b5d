"""Which models of a version are large, and what they are called together."""

from dataclasses import replace
from typing import Any

import pytest

from runflow.protocol.cached_files import LeasedCachedFile
from runflow.workflows.runtime.large_models import (
    BYTES_PER_SECOND,
    LARGE_BYTES,
    MOST_LOAD_SECONDS,
    UNKNOWN_BYTES,
    LargeModels,
    hashes_without_size,
    large_models,
)

A, B = "a" * 64, "b" * 64


def found(models: Any, prompt: Any = None, **uploaded: int) -> LargeModels:
    return large_models(models, prompt, uploaded)


def test_the_size_that_the_manifest_tells_decides() -> None:
    big = {"checkpoints/x.safetensors": {"sha256": A, "size_bytes": LARGE_BYTES, "directory": "checkpoints"}}
    small = {"checkpoints/x.safetensors": {"sha256": A, "size_bytes": LARGE_BYTES - 1, "directory": "checkpoints"}}
    lora = {"loras/y.safetensors": {"sha256": B, "size_bytes": LARGE_BYTES * 2, "directory": "loras"}}
    assert found(big).size_bytes == LARGE_BYTES and found(small) == LargeModels("", 0)
    assert found(lora).size_bytes == LARGE_BYTES * 2
    assert found(big | lora).key not in (found(big).key, found(lora).key)


def test_then_that_of_an_upload_of_the_same_content() -> None:
    models = [{"path": "loras/y.safetensors", "sha256": A.upper()}, {"path": "vae/z.safetensors", "sha256": B}]
    assert hashes_without_size(models) == {A, B}
    assert large_models(models, None, {A: LARGE_BYTES, B: 5}).size_bytes == LARGE_BYTES


def test_files_of_caches_count_by_their_size_alone() -> None:
    big = LeasedCachedFile(cache="torch", path="sam_vit_h.pth", sha256=A, size_bytes=LARGE_BYTES)
    small = LeasedCachedFile(cache="torch", path="config.json", sha256=B, size_bytes=LARGE_BYTES - 1)
    assert large_models({}, None, {}, [small]) == LargeModels("", 0)
    seen = large_models({}, None, {}, [big, small])
    assert seen.size_bytes == seen.told_bytes == LARGE_BYTES and seen.key
    untold = [replace(big, size_bytes=None)]
    assert (
        large_models({}, None, {}, untold) == LargeModels("", 0)
        and large_models({}, None, {A: LARGE_BYTES}, untold) == seen
    )


def test_nobody_looks_for_an_upload_of_what_can_be_no_content() -> None:
    told = ["\0", "a" * 63 + "\0", A + "\n", "é" * 64, "", A[:-1], 5, None, ["x"]]
    models = {f"checkpoints/{number}.ckpt": {"sha256": one} for number, one in enumerate(told)}
    assert hashes_without_size(models) == set()
    assert found(models).size_bytes == UNKNOWN_BYTES * len(told)


@pytest.mark.parametrize(
    ("path", "is_large"),
    [
        ("checkpoints/x.safetensors", True),
        ("diffusion_models\\wan\\x.gguf", True),
        ("text_encoders/t5.safetensors", True),
        ("loras/style.safetensors", False),
        ("upscale_models/4x.pth", False),
        ("x.safetensors", False),
    ],
)
def test_then_the_kind(path: str, is_large: bool) -> None:
    assert found({path: {}}).size_bytes == (UNKNOWN_BYTES if is_large else 0)


def test_a_file_is_the_same_under_another_name_and_in_another_order() -> None:
    one = {"checkpoints/x.safetensors": {"sha256": A}, "vae/v.safetensors": {"sha256": B}}
    other = {"vae/v2.safetensors": {"sha256": B}, "checkpoints/y.safetensors": {"sha256": A}}
    assert found(one).key == found(other).key


def test_without_any_declared_model_the_prompt_tells() -> None:
    prompt = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
        "2": {"class_type": "LoraLoader", "inputs": {"lora_name": "style.safetensors", "model": ["1", 0]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
    }
    assert found(None, prompt) == found({}, prompt)
    assert found(None, prompt).size_bytes == UNKNOWN_BYTES
    assert found({"loras/style.safetensors": {}}, prompt) == LargeModels("", 0), "whoever declares some declares all"


@pytest.mark.parametrize(
    "models", [None, [], {}, "text", 5, [5, {"path": 7}], {"": {}, "x": None}, {"x": {"sha256": 5}}]
)
def test_whatever_callers_send_is_read(models: Any) -> None:
    assert found(models) == LargeModels("", 0)
    assert found(models, {"1": 5, "2": {"inputs": []}}) == LargeModels("", 0)


def test_a_load_is_foreseen_from_the_size_and_bounded() -> None:
    assert LargeModels("x", 10 * BYTES_PER_SECOND).load_seconds == 10
    assert LargeModels("x", 10**15).load_seconds == MOST_LOAD_SECONDS

"""Every node of the plugin, executed by a real ComfyUI, wired and unwired, and bound as the worker binds it."""

import uuid
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from runflow.graph import bind, collect_outputs, injected_input, read_interface, validate_values
from tests.support.comfyui_client import execute

pytestmark = pytest.mark.e2e

SCALARS = {
    "String": ("PrimitiveString", "a sea otter", "a sea otter", ""),
    "Int": ("PrimitiveInt", 41, "41", "0"),
    "Float": ("PrimitiveFloat", 0.25, "0.25", "0.0"),
    "Boolean": ("PrimitiveBoolean", True, "True", "False"),
}


def node(class_type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def save_picture(folder: Path, name: str, *, mode: str = "RGB") -> np.ndarray[Any, Any]:
    """Write a picture with every possible byte value and return its pixels."""
    channels = {"RGB": 3, "RGBA": 4}[mode]
    pixels = np.arange(32 * 32 * channels, dtype=np.uint32).reshape(32, 32, channels).astype(np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return pixels


def saved_path(base: Path, entry: dict[str, str]) -> Path:
    assert entry["type"] == "output"
    return base / "output" / entry["subfolder"] / entry["filename"]


@pytest.fixture
def tag() -> str:
    """A text that makes a test's files and values its own: the server caches and keeps what earlier runs made."""
    return uuid.uuid4().hex[:12]


def test_the_server_knows_every_node_under_its_name_and_category(comfyui_url: str) -> None:
    info = httpx.get(f"{comfyui_url}/object_info", timeout=30).json()
    inputs = ["String", "Int", "Float", "Boolean", "Image", "File", "Choice"]
    expected = {f"RunflowInput{kind}": (f"Runflow Input ({kind})", "Runflow/Input") for kind in inputs}
    expected |= {f"RunflowOutput{kind}": (f"Runflow Output ({kind})", "Runflow/Output") for kind in ("Image", "File")}
    found = {name: (info[name]["display_name"], info[name]["category"]) for name in info if name.startswith("Runflow")}
    assert found.items() >= expected.items()


@pytest.mark.parametrize("kind", SCALARS)
def test_a_wired_scalar_is_passed_on(comfyui_url: str, kind: str, tag: str) -> None:
    source, value, shown, _ = SCALARS[kind]
    prompt = {
        "1": node(source, value=value),
        "2": node(f"RunflowInput{kind}", input_id=tag, value=["1", 0]),
        "3": node("PreviewAny", source=["2", 0]),
    }
    assert execute(comfyui_url, prompt).outputs["3"] == {"text": [shown]}


@pytest.mark.parametrize("kind", SCALARS)
def test_an_unwired_scalar_is_empty(comfyui_url: str, kind: str, tag: str) -> None:
    prompt = {
        "2": node(f"RunflowInput{kind}", input_id=tag, display_name="", description="", required=False),
        "3": node("PreviewAny", source=["2", 0]),
    }
    assert execute(comfyui_url, prompt).outputs["3"] == {"text": [SCALARS[kind][3]]}


def test_defaults_and_choices_run_and_reach_a_widget_with_choices(comfyui_url: str, tag: str) -> None:
    prompt = {
        "1": node("EmptyImage", width=["2", 0], height=32, batch_size=1, color=0),
        "2": node("RunflowInputInt", input_id=f"w{tag}", default_value="24", min="8", max=64, step=8, required=False),
        "3": node("RunflowInputChoice", input_id=f"m{tag}", choices="bilinear\nlanczos", required=False),
        "4": node("ImageScale", image=["1", 0], upscale_method=["3", 0], width=48, height=0, crop="disabled"),
        "5": node("RunflowOutputImage", output_id="image", value=["4", 0]),
        "6": node("RunflowInputBoolean", input_id=f"b{tag}", default_value=True, required=False),
        "7": node("PreviewAny", source=["6", 0]),
    }
    interface = read_interface(prompt)
    assert [spec.default_value for spec in interface.inputs] == [24, None, True]
    execution = execute(comfyui_url, prompt)
    assert execution.error is None, execution.error
    assert execution.outputs["7"] == {"text": ["True"]}
    values = validate_values(interface, {f"w{tag}": 16, f"m{tag}": "lanczos"}).values
    execution = execute(comfyui_url, bind(prompt, interface, values, files={}))
    assert execution.error is None, execution.error
    assert len(execution.outputs["5"]["images"]) == 1


@pytest.mark.parametrize("kind", SCALARS)
def test_a_bound_scalar_arrives(comfyui_url: str, kind: str, tag: str) -> None:
    _, value, shown, _ = SCALARS[kind]
    prompt = {
        "2": node(f"RunflowInput{kind}", input_id=tag),
        "3": node("PreviewAny", source=["2", 0]),
    }
    interface = read_interface(prompt)
    bound = bind(prompt, interface, validate_values(interface, {tag: value}).values, files={})
    assert execute(comfyui_url, bound).outputs["3"] == {"text": [shown]}


def test_integers_of_64_bits_arrive_unchanged(comfyui_url: str, tag: str) -> None:
    prompt = {"1": node("RunflowInputInt", input_id=tag), "2": node("PreviewAny", source=["1", 0])}
    bound = bind(prompt, read_interface(prompt), {tag: 2**64 - 1}, files={})
    assert execute(comfyui_url, bound).outputs["2"] == {"text": [str(2**64 - 1)]}


def test_a_file_input_passes_its_file_name_and_a_wired_value_wins(comfyui_url: str, tag: str) -> None:
    prompt = {
        "1": node("RunflowInputFile", input_id="a", file_name=f"{tag}.txt"),
        "2": node("PreviewAny", source=["1", 0]),
        "3": node("PrimitiveString", value=f"{tag}-wired.txt"),
        "4": node("RunflowInputFile", input_id="b", file_name=f"{tag}.txt", value=["3", 0]),
        "5": node("PreviewAny", source=["4", 0]),
        "6": node("RunflowInputFile", input_id=tag),
        "7": node("PreviewAny", source=["6", 0]),
    }
    outputs = execute(comfyui_url, prompt).outputs
    texts = [outputs[node_id]["text"] for node_id in ("2", "5", "7")]
    assert texts == [[f"{tag}.txt"], [f"{tag}-wired.txt"], [""]]


def test_a_wired_picture_comes_out_with_the_same_bytes(comfyui_url: str, comfyui_base: Path, tag: str) -> None:
    pixels = save_picture(comfyui_base / "input", f"{tag}.png")
    prompt = {
        "1": node("LoadImage", image=f"{tag}.png"),
        "2": node("RunflowInputImage", input_id="photo", value=["1", 0]),
        "3": node("RunflowOutputImage", output_id=f"out {tag}", value=["2", 0]),
    }
    (entry,) = execute(comfyui_url, prompt).outputs["3"]["images"]
    assert entry == {"filename": f"out_{tag}_00001.png", "subfolder": "", "type": "output"}
    with Image.open(saved_path(comfyui_base, entry)) as saved:
        assert saved.format == "PNG"
        assert saved.info == {}  # no prompt, no workflow
        assert np.array_equal(np.asarray(saved), pixels)


def test_an_unwired_image_input_fails_with_its_own_name(comfyui_url: str, tag: str) -> None:
    prompt = {
        "17": node("RunflowInputImage", input_id=tag),
        "18": node("RunflowOutputImage", output_id="out", value=["17", 0]),
    }
    error = execute(comfyui_url, prompt).error
    assert error is not None
    assert (error["node_id"], error["node_type"]) == ("17", "RunflowInputImage")
    assert f'"{tag}" (node 17) has no picture' in error["exception_message"]


def test_every_picture_of_a_batch_is_saved_and_names_never_repeat(
    comfyui_url: str, comfyui_base: Path, tag: str
) -> None:
    def prompt(color: int) -> dict[str, Any]:
        return {
            "1": node("EmptyImage", width=16, height=8, batch_size=3, color=color),
            "2": node("RunflowOutputImage", output_id=tag, value=["1", 0]),
        }

    first = execute(comfyui_url, prompt(0xFF0000)).outputs["2"]["images"]
    second = execute(comfyui_url, prompt(0x00FF00)).outputs["2"]["images"]
    assert [entry["filename"] for entry in first + second] == [f"{tag}_{n:05d}.png" for n in range(1, 7)]
    with Image.open(saved_path(comfyui_base, second[2])) as saved:
        assert (saved.size, saved.getpixel((0, 0))) == ((16, 8), (0, 255, 0))


def test_two_outputs_of_one_picture_both_report_files(comfyui_url: str, tag: str) -> None:
    prompt = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=7),
        "2": node("RunflowOutputImage", output_id=tag, value=["1", 0]),
        "3": node("RunflowOutputImage", output_id=tag, value=["1", 0]),
    }
    outputs = execute(comfyui_url, prompt).outputs
    names = {outputs[node_id]["images"][0]["filename"] for node_id in ("2", "3")}
    assert names == {f"{tag}_00001.png", f"{tag}_00002.png"}


def test_the_hidden_subfolder_reaches_the_node(comfyui_url: str, comfyui_base: Path, tag: str) -> None:
    prompt = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=9),
        "2": node("RunflowOutputImage", output_id="image", value=["1", 0], output_subfolder=f"runs/{tag}"),
    }
    (entry,) = execute(comfyui_url, prompt).outputs["2"]["images"]
    assert entry == {"filename": "image_00001.png", "subfolder": f"runs/{tag}", "type": "output"}
    assert saved_path(comfyui_base, entry).is_file()


@pytest.mark.parametrize("folder", ["../outside", "/tmp/outside", "a/../../outside"])
def test_a_subfolder_that_leaves_the_output_folder_is_refused(
    comfyui_url: str, comfyui_base: Path, folder: str
) -> None:
    prompt = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=1),
        "2": node("RunflowOutputImage", output_id="image", value=["1", 0], output_subfolder=folder),
    }
    error = execute(comfyui_url, prompt).error
    assert error is not None
    assert 'Runflow Output (Image) "image" (node 2)' in error["exception_message"]
    assert not (comfyui_base / "outside").exists()


@pytest.mark.parametrize("kind", ["Image", "File"])
def test_an_unwired_output_is_refused_before_anything_runs(comfyui_url: str, kind: str) -> None:
    refused = execute(comfyui_url, {"5": node(f"RunflowOutput{kind}", output_id="out")}).refused
    assert refused is not None
    (fault,) = refused["node_errors"]["5"]["errors"]
    assert (fault["type"], fault["details"]) == ("required_input_missing", "value")


def test_a_file_output_reports_the_file(comfyui_url: str, comfyui_base: Path, tag: str) -> None:
    folder = comfyui_base / "output" / "meshes"
    folder.mkdir(exist_ok=True)
    (folder / f"{tag}.glb").write_bytes(b"glTF")
    prompt = {
        "1": node("PrimitiveString", value=f"meshes/{tag}.glb"),
        "2": node("RunflowOutputFile", output_id="mesh", output_name="Mesh", value=["1", 0]),
    }
    expected = {"files": [{"filename": f"{tag}.glb", "subfolder": "meshes", "type": "output"}]}
    assert execute(comfyui_url, prompt).outputs["2"] == expected
    (folder / f"{tag}.glb").unlink()
    error = execute(comfyui_url, prompt).error  # the same prompt again: nothing may come from the cache
    assert error is not None
    assert "is not in ComfyUI's output folder" in error["exception_message"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "empty path"),
        ("../input/secret.txt", '".."'),
        ("/etc/passwd", "not below"),
        ("meshes", "is a folder"),
        ("nothing-here.bin", "is not in"),
    ],
)
def test_a_file_output_refuses_what_is_no_output(comfyui_url: str, comfyui_base: Path, given: str, reason: str) -> None:
    (comfyui_base / "output" / "meshes").mkdir(exist_ok=True)
    prompt = {"1": node("PrimitiveString", value=given), "2": node("RunflowOutputFile", output_id="f", value=["1", 0])}
    error = execute(comfyui_url, prompt).error
    assert error is not None
    assert 'Runflow Output (File) "f" (node 2)' in error["exception_message"]
    assert reason in error["exception_message"]


def test_a_bound_run_reads_its_own_input_and_writes_to_its_own_folder(
    comfyui_url: str, comfyui_base: Path, tag: str
) -> None:
    prompt = {
        "9:3": node("RunflowInputImage", input_id="photo"),
        "4": node("RunflowInputInt", input_id="size"),
        "5": node(
            "ImageScale", image=["9:3", 0], upscale_method="lanczos", width=["4", 0], height=["4", 0], crop="disabled"
        ),
        "6": node("RunflowInputString", input_id="name"),
        "7": node("SaveImage", images=["5", 0], filename_prefix=["6", 0]),
        "10": node("RunflowOutputImage", output_id="small", value=["5", 0]),
    }
    interface = read_interface(prompt)
    validated = validate_values(interface, {"photo": "https://example.com/p.png", "size": "24", "name": "x/y"})
    assert validated.ok
    (comfyui_base / "input" / "runs" / tag).mkdir(parents=True)
    save_picture(comfyui_base / "input" / "runs" / tag, "photo.png", mode="RGBA")
    bound = bind(
        prompt, interface, validated.values, files={"photo": f"runs/{tag}/photo.png"}, output_folder=f"runs/{tag}"
    )
    outputs = execute(comfyui_url, bound).outputs
    (collected,) = collect_outputs(prompt, interface, outputs)
    assert (collected.output_id, collected.node_id, collected.subfolder) == ("small", "10", f"runs/{tag}")
    with Image.open(comfyui_base / "output" / collected.subfolder / collected.filename) as saved:
        assert saved.size == (24, 24)
    assert outputs["7"]["images"][0]["subfolder"] == f"runs/{tag}/x"


def test_an_omitted_optional_picture_leaves_the_consumer_to_its_default(comfyui_url: str, tag: str) -> None:
    prompt = {
        "1": node("EmptyImage", width=20, height=10, batch_size=1, color=3),
        "2": node("RunflowInputImage", input_id=tag, required=False),
        "3": node(
            "ImageStitch",
            image1=["1", 0],
            image2=["2", 0],  # optional: without it the node passes image1 on
            direction="right",
            match_image_size=True,
            spacing_width=0,
            spacing_color="white",
        ),
        "4": node("RunflowOutputImage", output_id="out", value=["3", 0]),
    }
    interface = read_interface(prompt)
    bound = bind(prompt, interface, {}, files={}, output_folder=f"runs/{tag}")
    (collected,) = collect_outputs(prompt, interface, execute(comfyui_url, bound).outputs)
    assert collected.output_id == "out"


def test_a_picture_that_is_none_is_refused_at_the_injected_node(comfyui_url: str, comfyui_base: Path, tag: str) -> None:
    (comfyui_base / "input" / f"{tag}.png").write_text("not a picture")
    prompt = {
        "1": node("RunflowInputImage", input_id="photo"),
        "2": node("RunflowOutputImage", output_id="out", value=["1", 0]),
    }
    bound = bind(prompt, read_interface(prompt), {"photo": "https://example.com/p"}, files={"photo": f"{tag}.png"})
    error = execute(comfyui_url, bound).error
    assert error is not None
    assert injected_input(bound, error["node_id"]) == "photo"

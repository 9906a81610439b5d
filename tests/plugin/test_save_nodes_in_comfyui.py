"""The Runflow Save nodes in real ComfyUIs, oldest and newest: what they write is opened again and looked at."""

import json
import math
import struct
import subprocess
import uuid
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runflow.graph import bind, collect_outputs, read_interface
from tests.support.comfyui_client import execute
from tests.support.editor import Editor
from tests.support.editor_fixtures import NEWEST

pytestmark = pytest.mark.e2e

PROBE = """
import av, json, sys
with av.open(sys.argv[1]) as file:
    streams = [
        {"type": s.type, "codec": s.codec_context.name, "rate": float(getattr(s, "average_rate", None) or s.rate or 0),
         "channels": getattr(s, "channels", None), "bit_rate": s.bit_rate,
         "size": [getattr(s, "width", 0), getattr(s, "height", 0)], "tags": dict(s.metadata)}
        for s in file.streams
    ]
    print(json.dumps({
        "format": file.format.name, "seconds": file.duration / 1e6, "tags": dict(file.metadata), "streams": streams,
        "frames": sum(1 for _ in file.decode(video=0)) if file.streams.video else None,
    }))
"""
HARMLESS = {"encoder", "major_brand", "minor_version", "compatible_brands"}
PLAIN_WORDS = ("prompt", "workflow", "class_type", "RunflowSave")


def node(class_type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def probe(editor: Editor, path: Path) -> dict[str, Any]:
    """What ComfyUI's own PyAV says about a file; fails if the file names prompt or workflow."""
    assert not [word for word in PLAIN_WORDS if word.encode() in path.read_bytes()]
    python = str(editor.comfyui / ".venv/bin/python")
    done = subprocess.run([python, "-c", PROBE, str(path)], check=True, capture_output=True, text=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)
    assert {key.lower() for key in found["tags"]} <= HARMLESS
    return found


def save_wave(path: Path, *, rate: int = 44_100, channels: int = 2, seconds: float = 1.5) -> None:
    """A tone of 440 Hz."""
    tone = [int(12_000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(int(rate * seconds))]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(struct.pack("<h", value) * channels for value in tone))


@pytest.fixture
def tag() -> str:
    return uuid.uuid4().hex[:12]


AUDIO_BATCH = """
import torch

class TestAudioBatch:
    CATEGORY, FUNCTION, RETURN_TYPES = "Test", "make", ("AUDIO",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT", {"default": 3}), "channels": ("INT", {"default": 1})}}

    def make(self, count, channels):
        tones = [0.3 * torch.sin(torch.arange(16_000) * (n + 1) * 0.1).repeat(channels, 1) for n in range(count)]
        return ({"waveform": torch.stack(tones), "sample_rate": 16_000},)

NODE_CLASS_MAPPINGS = {"TestAudioBatch": TestAudioBatch}
"""


@pytest.fixture
def batch_editor(comfyui_dirs: dict[str, Path], tmp_path: Path) -> Iterator[Editor]:
    """The newest ComfyUI with a node that makes several audios: no stock node does without a model."""
    made = Editor(comfyui_dirs[NEWEST], tmp_path)
    (made.base / "custom_nodes/audio_batch.py").write_text(AUDIO_BATCH)
    made.start()
    yield made
    made.stop()


def delivered(editor: Editor, prompt: dict[str, Any], node_id: str = "9") -> list[Path]:
    """Run a prompt; the files that its Runflow Output (File) delivered."""
    execution = execute(editor.url, prompt)
    assert execution.error is None, execution.error
    files = execution.outputs[node_id]["files"]
    return [editor.base / "output" / entry["subfolder"] / entry["filename"] for entry in files]


def test_they_are_there_by_name_and_category(editor: Editor) -> None:
    info = httpx.get(f"{editor.url}/object_info", timeout=30).json()
    found = {name: info[name] for name in info if name.startswith("RunflowSave")}
    assert {name: each["display_name"] for name, each in found.items()} == {
        "RunflowSaveAudioFLAC": "Runflow Save Audio (FLAC)",
        "RunflowSaveAudioFlac": "Runflow Save Audio (FLAC)",
        "RunflowSaveAudioMP3": "Runflow Save Audio (MP3)",
        "RunflowSaveAudioOpus": "Runflow Save Audio (Opus)",
        "RunflowSaveVideoMP4": "Runflow Save Video (MP4)",
        "RunflowSaveVideoWEBM": "Runflow Save Video (WEBM)",
    }
    assert {each["category"] for each in found.values()} == {"Runflow/Save"}
    assert {tuple(each["output"]) for each in found.values()} == {("STRING",)}
    assert [name for name, each in found.items() if each.get("deprecated")] == ["RunflowSaveAudioFlac"]


@pytest.mark.parametrize(
    ("kind", "widgets", "codec", "rate", "bits"),
    [
        ("FLAC", {}, "flac", 44_100, None),
        ("MP3", {"quality": "V0"}, "mp3float", 44_100, None),
        ("MP3", {"quality": "320k"}, "mp3float", 44_100, 320_000),
        ("Opus", {"bitrate": "64k"}, "opus", 48_000, None),
    ],
)
def test_audio_is_encoded_and_delivered(
    editor: Editor, tag: str, kind: str, widgets: dict[str, str], codec: str, rate: int, bits: int | None
) -> None:
    save_wave(editor.base / "input" / f"{tag}.wav")
    prompt = {
        "1": node("LoadAudio", audio=f"{tag}.wav"),
        "2": node(f"RunflowSaveAudio{kind}", audio=["1", 0], filename_prefix=f"{tag}/my song", **widgets),
        "9": node("RunflowOutputFile", output_id="song", value=["2", 0]),
    }
    (path,) = delivered(editor, prompt)
    assert path == editor.base / "output" / tag / f"my_song_00001.{kind.lower()}"
    found = probe(editor, path)
    (stream,) = found["streams"]
    assert (stream["codec"], stream["rate"], stream["channels"]) == (codec, rate, 2)
    assert found["seconds"] == pytest.approx(1.5, abs=0.06)
    assert bits is None or stream["bit_rate"] == bits
    (again,) = delivered(editor, prompt)
    assert again.name == f"my_song_00002.{kind.lower()}"


@pytest.mark.parametrize(
    ("saver", "name"),
    [
        (node("RunflowSaveAudioFlac"), "flac"),
        (node("RunflowSaveAudioOpus", quality="64k"), "opus"),
    ],
)
def test_a_prompt_of_the_original_plugin_runs_as_it_is(
    editor: Editor, tag: str, saver: dict[str, Any], name: str
) -> None:
    """Its spellings, and its outputs' values wired on; bound as for a run of the platform."""
    save_wave(editor.base / "input" / f"{tag}.wav", seconds=0.5)
    prompt = {
        "0": node("RunflowInputFile", input_id="sound", display_name="", description="", file_name=f"{tag}.wav"),
        "1": node("LoadAudio", audio=f"{tag}.wav"),
        "2": node(saver["class_type"], audio=["1", 0], filename_prefix=f"{tag}/song", **saver["inputs"]),
        "9": node("RunflowOutputFile", output_id="song", output_name="", value=["2", 0]),
        "8": node("PreviewAny", source=["0", 0]),
        "10": node("PreviewAny", source=["9", 0]),
        "11": node("EmptyImage", width=16, height=16, batch_size=2, color=1),
        "12": node("RunflowOutputImage", output_id="picture", output_name="", value=["11", 0]),
        "13": node("PreviewImage", images=["12", 0]),
    }
    interface = read_interface(prompt)
    assert [(spec.is_required, spec.default_value) for spec in interface.inputs] == [(False, f"{tag}.wav")]
    execution = execute(editor.url, bind(prompt, interface, {}, files={}, output_folder=f"runs/{tag}"))
    assert execution.error is None, execution.error
    song, *pictures = collect_outputs(prompt, interface, execution.outputs)
    assert (song.output_id, song.subfolder, song.filename) == ("song", f"runs/{tag}/{tag}", f"song_00001.{name}")
    assert [each.output_id for each in pictures] == ["picture", "picture"]
    assert execution.outputs["8"]["text"] == [f"{tag}.wav"]
    assert execution.outputs["10"]["text"] == [f"runs/{tag}/{tag}/song_00001.{name}"]
    assert len(execution.outputs["13"]["images"]) == 2
    found = probe(editor, editor.base / "output" / song.subfolder / song.filename)
    assert found["seconds"] == pytest.approx(0.5, abs=0.06)


def test_flac_keeps_every_sample(editor: Editor, tag: str) -> None:
    save_wave(editor.base / "input" / f"{tag}.wav", channels=1, seconds=0.25)
    prompt = {
        "1": node("LoadAudio", audio=f"{tag}.wav"),
        "2": node("RunflowSaveAudioFLAC", audio=["1", 0], filename_prefix=tag),
        "9": node("RunflowOutputFile", output_id="song", value=["2", 0]),
    }
    (path,) = delivered(editor, prompt)
    decode = """
import av, numpy, sys
def samples(name):
    with av.open(name) as file:
        kind = av.AudioResampler(format="s16", layout="mono")
        return numpy.concatenate([o.to_ndarray().ravel() for f in file.decode(audio=0) for o in kind.resample(f)])
a, b = map(samples, sys.argv[1:])
assert len(a) == len(b) > 11000 and abs(a.astype(int) - b).max() <= 1, (len(a), len(b))
"""
    python = str(editor.comfyui / ".venv/bin/python")
    source = editor.base / "input" / f"{tag}.wav"
    subprocess.run([python, "-c", decode, str(source), str(path)], check=True, timeout=120)


def test_each_audio_of_a_batch_becomes_a_file(batch_editor: Editor, tag: str) -> None:
    prompt = {
        "1": node("TestAudioBatch", count=3, channels=1),
        "2": node("RunflowSaveAudioFLAC", audio=["1", 0], filename_prefix=tag),
        "9": node("RunflowOutputFile", output_id="songs", value=["2", 0]),
        "3": node("TestAudioBatch", count=1, channels=6),
    }
    paths = delivered(batch_editor, prompt)
    assert [path.name for path in paths] == [f"{tag}_{n:05d}.flac" for n in (1, 2, 3)]
    assert [probe(batch_editor, path)["seconds"] for path in paths] == pytest.approx([1.0] * 3)
    assert len({path.read_bytes() for path in paths}) == 3
    prompt["2"]["inputs"]["audio"] = ["3", 0]
    error = execute(batch_editor.url, prompt).error
    assert error is not None
    assert "(node 2): the audio has 6 channels" in error["exception_message"]


def test_a_video_is_saved_as_mp4_with_its_sound(editor: Editor, tag: str) -> None:
    save_wave(editor.base / "input" / f"{tag}.wav", seconds=1.0)
    prompt = {
        "1": node("EmptyImage", width=64, height=48, batch_size=12, color=0x336699),
        "2": node("LoadAudio", audio=f"{tag}.wav"),
        "3": node("CreateVideo", images=["1", 0], audio=["2", 0], fps=12.0),
        "4": node("RunflowSaveVideoMP4", video=["3", 0], filename_prefix=tag),
        "9": node("RunflowOutputFile", output_id="film", value=["4", 0]),
    }
    (path,) = delivered(editor, prompt)
    found = probe(editor, path)
    assert path.suffix == ".mp4"
    assert {stream["type"]: stream["codec"] for stream in found["streams"]} == {"video": "h264", "audio": "aac"}
    assert (found["frames"], found["streams"][0]["rate"], found["streams"][0]["size"]) == (12, 12.0, [64, 48])
    assert found["seconds"] == pytest.approx(1.0, abs=0.1)


def test_a_loaded_video_loses_the_workflow_that_it_brings_along(editor: Editor, tag: str) -> None:
    made = execute(
        editor.url,
        {
            "1": node("EmptyImage", width=64, height=48, batch_size=6, color=0x996633),
            "2": node("CreateVideo", images=["1", 0], fps=6.0),
            "3": node("SaveVideo", video=["2", 0], filename_prefix=tag, format="mp4", codec="h264"),
        },
    )
    (entry,) = made.outputs["3"]["images"]
    source = editor.base / "output" / entry["subfolder"] / entry["filename"]
    assert b"class_type" in source.read_bytes()
    source.rename(editor.base / "input" / f"{tag}.mp4")
    prompt = {
        "1": node("LoadVideo", file=f"{tag}.mp4"),
        "2": node("RunflowSaveVideoMP4", video=["1", 0], filename_prefix=f"{tag}-clean"),
        "9": node("RunflowOutputFile", output_id="film", value=["2", 0]),
    }
    (path,) = delivered(editor, prompt)
    found = probe(editor, path)
    assert (found["frames"], [stream["codec"] for stream in found["streams"]]) == (6, ["h264"])


@pytest.mark.parametrize("codec", ["vp9", "av1"])
def test_images_become_a_webm(editor: Editor, tag: str, codec: str) -> None:
    prompt = {
        "1": node("EmptyImage", width=96, height=64, batch_size=10, color=0x224466),
        "2": node("RunflowSaveVideoWEBM", images=["1", 0], filename_prefix=tag, codec=codec, fps=12.5, crf=40.0),
        "9": node("RunflowOutputFile", output_id="film", value=["2", 0]),
    }
    (path,) = delivered(editor, prompt)
    found = probe(editor, path)
    (stream,) = found["streams"]
    assert path.suffix == ".webm"
    assert "webm" in found["format"]
    assert stream["codec"] in {"vp9": ("vp9", "libvpx-vp9"), "av1": ("av1", "libdav1d", "libaom-av1")}[codec]
    assert (found["frames"], stream["rate"], stream["size"]) == (10, 12.5, [96, 64])
    assert found["seconds"] == pytest.approx(0.8, abs=0.05)


def test_transparency_goes_into_a_vp9_webm(editor: Editor, tag: str) -> None:
    prompt = {
        "1": node("EmptyImage", width=33, height=31, batch_size=3, color=0x224466),
        "2": node("SolidMask", value=0.5, width=33, height=31),
        "3": node("JoinImageWithAlpha", image=["1", 0], alpha=["2", 0]),
        "4": node("RunflowSaveVideoWEBM", images=["3", 0], filename_prefix=tag, codec="vp9", fps=24.0, crf=32.0),
        "9": node("RunflowOutputFile", output_id="film", value=["4", 0]),
    }
    (path,) = delivered(editor, prompt)
    (stream,) = probe(editor, path)["streams"]
    assert (stream["tags"]["alpha_mode"], stream["size"]) == ("1", [33, 31])


def test_an_odd_size_and_transparency_are_no_mp4_and_say_so(editor: Editor, tag: str) -> None:
    prompt = {
        "1": node("EmptyImage", width=33, height=31, batch_size=2, color=1),
        "2": node("CreateVideo", images=["1", 0], fps=2.0),
        "3": node("RunflowSaveVideoMP4", video=["2", 0], filename_prefix=tag),
    }
    error = execute(editor.url, prompt).error
    assert error is not None
    assert "Runflow Save Video (MP4) (node 3): H.264 needs an even width" in error["exception_message"]
    assert "33 x 31" in error["exception_message"]
    prompt |= {
        "1": node("EmptyImage", width=32, height=32, batch_size=2, color=1),
        "4": node("SolidMask", value=0.5, width=32, height=32),
        "5": node("JoinImageWithAlpha", image=["1", 0], alpha=["4", 0]),
        "2": node("CreateVideo", images=["5", 0], fps=2.0),
    }
    error = execute(editor.url, prompt).error
    assert error is not None
    assert "Runflow Save Video (MP4) (node 3): MP4 has no transparency." in error["exception_message"]


def test_a_run_saves_into_its_own_folder_also_by_a_linked_prefix(editor: Editor, tag: str) -> None:
    save_wave(editor.base / "input" / f"{tag}.wav", seconds=0.2)
    prompt = {
        "1": node("LoadAudio", audio=f"{tag}.wav"),
        "2": node("PrimitiveString", value="audio/linked"),
        "3": node("RunflowSaveAudioMP3", audio=["1", 0], filename_prefix=["2", 0], quality="128k"),
        "9": node("RunflowOutputFile", output_id="song", value=["3", 0]),
    }
    interface = read_interface(prompt)
    bound = bind(prompt, interface, {}, files={}, output_folder=f"runs/{tag}")
    execution = execute(editor.url, bound)
    assert execution.error is None
    (file,) = collect_outputs(prompt, interface, execution.outputs)
    assert (file.output_id, file.subfolder, file.filename) == ("song", f"runs/{tag}/audio", "linked_00001.mp3")


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"output_subfolder": "../x"}, '".."'),
        ({"filename_prefix": "../x"}, '".."'),
        ({"filename_prefix": ".."}, '".."'),
    ],
)
def test_no_name_leaves_the_output_folder(editor: Editor, tag: str, inputs: dict[str, str], reason: str) -> None:
    save_wave(editor.base / "input" / f"{tag}.wav", seconds=0.1)
    saver = node("RunflowSaveAudioFLAC", **{"audio": ["1", 0], "filename_prefix": "x", **inputs})
    prompt = {"1": node("LoadAudio", audio=f"{tag}.wav"), "2": saver}
    error = execute(editor.url, prompt).error
    assert error is not None
    assert "Runflow Save Audio (FLAC) (node 2)" in error["exception_message"]
    assert reason in error["exception_message"]


def test_what_an_encoder_does_not_take_fails_with_the_node_and_the_reason(editor: Editor, tag: str) -> None:
    save_wave(editor.base / "input" / f"{tag}.wav", rate=96_000, channels=1, seconds=0.1)
    odd = {
        "1": node("LoadAudio", audio=f"{tag}.wav"),
        "2": node("RunflowSaveAudioMP3", audio=["1", 0], filename_prefix=tag, quality="V0"),
    }
    silent = {
        "1": node("EmptyImage", width=16, height=16, batch_size=2, color=1),
        "2": node("CreateVideo", images=["1", 0], fps=2.0),
        "3": node("GetVideoComponents", video=["2", 0]),
        "4": node("RunflowSaveAudioMP3", audio=["3", 1], filename_prefix=tag, quality="V0"),
    }
    loud = {
        "1": node("LoadAudio", audio=f"{tag}.wav"),
        "2": node("RunflowSaveAudioOpus", audio=["1", 0], filename_prefix=tag, bitrate="320k"),
    }
    unknown = {
        "1": node("LoadAudio", audio=f"{tag}.wav"),
        "2": node("RunflowSaveAudioOpus", audio=["1", 0], filename_prefix=tag, quality="V0"),
    }
    fast = {
        "1": node("EmptyImage", width=16, height=16, batch_size=2, color=1),
        "2": node("RunflowSaveVideoWEBM", images=["1", 0], filename_prefix=tag, codec="av1", fps=250.0, crf=32.0),
    }
    errors = [execute(editor.url, prompt).error for prompt in (odd, silent, loud, fast, unknown)]
    messages = [error["exception_message"] for error in errors if error]
    assert "Runflow Save Audio (MP3) (node 2): MP3 knows no sample rate of 96000 Hz" in messages[0]
    assert "Runflow Save Audio (Opus) (node 2): Opus takes at most 256k for one channel" in messages[2]
    assert "Runflow Save Audio (Opus) (node 2): Opus knows no bitrate 'V0', only 64k" in messages[4]
    assert "Runflow Save Video (WEBM) (node 2): AV1 takes 240 images per second at most" in messages[3]
    assert "Runflow Save Audio (MP3) (node 4): it received no audio" in messages[1]
    assert not list((editor.base / "output").glob(f"{tag}*"))
    assert not list((editor.base / "temp").glob("runflow-save-*"))

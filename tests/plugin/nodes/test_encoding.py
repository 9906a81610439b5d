"""Which ComfyUI gets the Runflow Save nodes. What they write: tests/plugin/test_save_nodes_in_comfyui.py."""

import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support.comfyui_import import loaded_as_custom_node

PLUGIN = Path(__file__).resolve().parents[3] / "plugin"


def place_comfy_api(monkeypatch: pytest.MonkeyPatch, **names: Any) -> None:
    """A `comfy_api.latest` that has these names."""
    latest = ModuleType("comfy_api.latest")
    latest.__dict__.update(names)
    monkeypatch.setitem(sys.modules, "comfy_api", ModuleType("comfy_api"))
    monkeypatch.setitem(sys.modules, "comfy_api.latest", latest)


WHOLE = {
    "ui": SimpleNamespace(AudioSaveHelper=SimpleNamespace(save_audio=print)),
    "io": SimpleNamespace(FolderType=SimpleNamespace(temp="temp")),
    "Types": SimpleNamespace(VideoContainer=SimpleNamespace(MP4="mp4"), VideoCodec=SimpleNamespace(H264="h264")),
}


def test_with_all_that_they_need_they_are_there_and_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place_comfy_api(monkeypatch, **WHOLE)
    with loaded_as_custom_node(PLUGIN) as module:
        saving = {name for name in module.NODE_CLASS_MAPPINGS if name.startswith("RunflowSave")}
        assert saving == {f"RunflowSaveAudio{kind}" for kind in ("FLAC", "Flac", "MP3", "Opus")} | {
            f"RunflowSaveVideo{kind}" for kind in ("MP4", "WEBM")
        }
        assert saving <= set(module.NODE_DISPLAY_NAME_MAPPINGS)
        for name in saving:
            node_class = module.NODE_CLASS_MAPPINGS[name]
            assert node_class.__name__ == name
            assert "output_subfolder" in node_class.INPUT_TYPES()["hidden"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("lacking", [None, "ui", "io", "Types"])
def test_without_one_warning_tells_and_the_rest_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lacking: str | None
) -> None:
    if lacking is not None:
        place_comfy_api(monkeypatch, **{name: part for name, part in WHOLE.items() if name != lacking})
    with loaded_as_custom_node(PLUGIN) as module:
        assert len(module.NODE_CLASS_MAPPINGS) == len(module.NODE_DISPLAY_NAME_MAPPINGS) == 10
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "the nodes of Runflow/Save are left out" in warning.getMessage()
    assert (lacking or "comfy_api") in warning.getMessage()

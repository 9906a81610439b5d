from datetime import datetime
from pathlib import Path

import pytest

from plugin.graph import bind, read_interface
from plugin.nodes.output_paths import OutputPathError
from plugin.nodes.save_paths import fill_in, naming, place, relative_name, reported


def encoded(tmp_path: Path, content: bytes = b"song") -> Path:
    file = tmp_path / "encoded.mp3"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("prefix", "subfolder", "name"),
    [
        ("song", "", "song_00001.mp3"),
        ("audio/my song!", "", "audio/my_song_00001.mp3"),
        ("a\\b/c", "runs/7", "runs/7/a/b/c_00001.mp3"),
        ("", "runs/7", "runs/7/output_00001.mp3"),
        ("/etc/./passwd", "", "etc/passwd_00001.mp3"),
        ('C:/a "b"?/c', "", "C_/a _b__/c_00001.mp3"),
    ],
)
def test_a_file_gets_its_place_and_name(output: Path, tmp_path: Path, prefix: str, subfolder: str, name: str) -> None:
    path = place(encoded(tmp_path), prefix, subfolder)
    assert path == output / name
    assert path.read_bytes() == b"song"
    assert relative_name(path) == name
    folder, _, filename = name.rpartition("/")
    assert reported(path) == {"filename": filename, "subfolder": folder, "type": "output"}


def test_numbers_go_on_by_ending_and_no_file_is_replaced(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (output / "song_00007.mp3").write_bytes(b"theirs")
    (output / "song_00009.flac").touch()
    assert place(encoded(tmp_path), "song", "").name == "song_00008.mp3"
    monkeypatch.setattr("plugin.nodes.save_paths.next_number", lambda *_: 7)  # another ComfyUI was faster
    assert place(encoded(tmp_path), "song", "").name == "song_00009.mp3"
    assert (output / "song_00007.mp3").read_bytes() == b"theirs"


@pytest.mark.parametrize(("prefix", "subfolder"), [("..", ""), ("../x", ""), ("a/../../x", ""), ("x", "../y")])
def test_nothing_is_placed_outside(output: Path, tmp_path: Path, prefix: str, subfolder: str) -> None:
    with pytest.raises(OutputPathError):
        place(encoded(tmp_path), prefix, subfolder)
    assert list(output.rglob("*")) == []


def test_a_failed_move_leaves_no_empty_file(output: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        place(tmp_path / "missing.mp3", "song", "")
    assert list(output.iterdir()) == []


def test_a_failure_names_the_node_and_a_cancel_passes() -> None:
    class InterruptProcessingException(Exception):
        pass

    with pytest.raises(ValueError, match=r"^Saver \(node 4\): no room\.$"), naming("Saver", "4"):
        raise OSError("no room")
    with pytest.raises(InterruptProcessingException), naming("Saver", "4"):
        raise InterruptProcessingException


@pytest.mark.parametrize("prefix", ["audio/x", ["2", 0]])
def test_a_run_names_its_folder_once_and_leaves_the_prefix_to_the_node(prefix: object) -> None:
    prompt = {
        "1": {"class_type": "EmptyAudio", "inputs": {"duration": 1.0}},
        "2": {"class_type": "AnyText", "inputs": {"text": "audio/x"}},
        "3": {"class_type": "RunflowSaveAudioMP3", "inputs": {"audio": ["1", 0], "filename_prefix": prefix}},
    }
    bound = bind(prompt, read_interface(prompt), {}, files={}, output_folder="runs/7")
    assert bound["3"]["inputs"] == {"audio": ["1", 0], "filename_prefix": prefix, "output_subfolder": "runs/7"}


NOW = datetime(2026, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("prefix", "filled"),
    [
        ("audio/%date:yyyy-MM-dd%/x", "audio/2026-03-04/x"),
        ("%date:yy.M.d h:m:s%_%date:hhmmss%", "26.3.4 5:6:7_050607"),
        ("%year%%month%%day%-%hour%%minute%%second%", "20260304-050607"),
        ("100%_%width%_%date:%_%dates%", "100%_%width%_%date:%_%dates%"),
    ],
)
def test_dates_are_written_out(prefix: str, filled: str) -> None:
    assert fill_in(prefix, NOW) == filled

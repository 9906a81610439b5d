"""The model files of an engine, listed without reading them."""

from pathlib import Path

import pytest

from runflow.protocol.abilities import ModelFile
from runflow.worker.abilities import model_files
from runflow.worker.abilities.model_files import (
    ModelRoots,
    Unreadable,
    extra_folders,
    files_below,
    is_same,
    list_models,
    shown_folders,
    shown_roots,
)


def put(path: Path, content: bytes = b"model") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    put(tmp_path / "comfyui/models/checkpoints/SDXL/base.safetensors", b"12345")
    put(tmp_path / "comfyui/models/checkpoints/put_checkpoints_here", b"")
    put(tmp_path / "comfyui/models/.cache/x.safetensors")
    return tmp_path / "comfyui"


def listed(tmp_path: Path) -> list[ModelFile]:
    return list_models(shown_roots(tmp_path / "comfyui", (tmp_path / "shared",)))[0]


def test_files_are_told_by_path_and_size_and_by_their_hash_where_that_is_known(tmp_path: Path, comfyui: Path) -> None:
    mine = put(comfyui / "models/loras/mine.safetensors", b"abc")
    found, _ = list_models(shown_roots(comfyui, ()), {mine: "ab" * 32}.get)
    assert found == [
        ModelFile(path="checkpoints/SDXL/base.safetensors", size_bytes=5),
        ModelFile(path="loras/mine.safetensors", size_bytes=3, sha256="ab" * 32),
    ]
    assert {*files_below(shown_roots(comfyui, ()))} == {mine, comfyui / "models/checkpoints/SDXL/base.safetensors"}


def test_in_a_sandbox_those_count_that_are_shown_there(tmp_path: Path, comfyui: Path) -> None:
    home = tmp_path / "disk/worker"
    put(home / "models/loras/placed.safetensors")
    put(tmp_path / "disk/loras/shared.safetensors")
    put(tmp_path / "secret.safetensors")
    (tmp_path / "disk/link").symlink_to(home / "models")
    private = [tmp_path, tmp_path / "disk", home, home / "models", tmp_path / "disk/link", Path("/"), Path.home(), ".."]
    lines = [f"  kind{number}: {folder}\n" for number, folder in enumerate(private)]
    put(comfyui / "extra_model_paths.yaml", f"a:\n  loras: {tmp_path}/disk/loras\n{''.join(lines)}".encode())
    assert shown_folders(comfyui, home) == (tmp_path / "disk/loras",)
    found, _ = list_models(shown_roots(comfyui, shown_folders(comfyui, home)))
    assert [one.path for one in found] == ["checkpoints/SDXL/base.safetensors", "loras/shared.safetensors"]


def test_a_home_is_not_shown_by_whatever_path_it_is_named(
    tmp_path: Path, comfyui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "data/person/private")
    put(tmp_path / "data/worker/models/x")
    (tmp_path / "homes").mkdir()
    (tmp_path / "homes/person").symlink_to(tmp_path / "data/person")
    (tmp_path / "homes/worker").symlink_to(tmp_path / "data/worker")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "homes/person")
    named = ("data", "data/person", "data/worker", "homes", "homes/person", "homes/worker")
    lines = [f"  kind{number}: {tmp_path}/{folder}\n" for number, folder in enumerate(named)]
    put(comfyui / "extra_model_paths.yaml", f"a:\n{''.join(lines)}".encode())
    assert shown_folders(comfyui, tmp_path / "homes/worker") == ()


def test_a_file_that_comes_or_goes_changes_the_stamp(tmp_path: Path, comfyui: Path) -> None:
    roots = ModelRoots((comfyui / "models",), (("vae", tmp_path / "vae"),))
    _, stamp = list_models(roots)
    assert is_same(stamp)
    new = put(comfyui / "models/checkpoints/SDXL/new.safetensors")
    assert not is_same(stamp)
    files, stamp = list_models(roots)
    assert len(files) == 2 and is_same(stamp)
    new.unlink()
    assert not is_same(stamp)
    _, stamp = list_models(roots)
    put(tmp_path / "vae/first.safetensors")
    assert not is_same(stamp), "a folder that was not there before"


def test_links_are_followed_and_circles_end(tmp_path: Path, comfyui: Path) -> None:
    put(tmp_path / "elsewhere/big.safetensors")
    (comfyui / "models/loras").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/circle").symlink_to(tmp_path / "elsewhere")
    assert [file.path for file in listed(tmp_path)] == ["checkpoints/SDXL/base.safetensors", "loras/big.safetensors"]


def test_other_folders_of_the_operator_count(tmp_path: Path, comfyui: Path) -> None:
    put(tmp_path / "shared/Stable-diffusion/a.safetensors")
    put(tmp_path / "shared/models/Lora/b.safetensors")
    put(comfyui / "more/c.safetensors")
    (comfyui / "extra_model_paths.yaml").write_text(
        f"# mine\na111:\n    base_path: {tmp_path}/shared/\n    checkpoints: Stable-diffusion # theirs\n"
        "    loras: |\n        models/Lora\n        models/LyCORIS\n    is_default: true\nother:\n    vae: more\n"
    )
    paths = [file.path for file in listed(tmp_path)]
    assert paths == ["checkpoints/SDXL/base.safetensors", "checkpoints/a.safetensors", "loras/b.safetensors",
                     "vae/c.safetensors"]  # fmt: skip


@pytest.mark.parametrize("text", ["a: {base_path: /x}\n", "a:\n  loras: [x, y]\n", "- x\n", "a:\n  <<: *b\n"])
def test_a_form_that_is_not_read_makes_the_list_unknown(tmp_path: Path, text: str) -> None:
    put(tmp_path / "extra.yaml", text.encode())
    with pytest.raises(Unreadable, match=r"extra\.yaml"):
        list(extra_folders(tmp_path / "extra.yaml"))


def test_a_list_that_would_not_be_whole_is_unknown(
    tmp_path: Path, comfyui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(comfyui / "models/checkpoints/second.safetensors")
    monkeypatch.setattr(model_files, "MOST_MODELS", 1)
    with pytest.raises(Unreadable, match="more than 1"):
        listed(tmp_path)

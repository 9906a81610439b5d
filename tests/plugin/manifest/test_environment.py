import json
from pathlib import Path

import pytest

from plugin.manifest.custom_nodes import custom_nodes, folders_used
from plugin.manifest.environment import comfyui, machine, packages
from plugin.version import VERSION
from tests.support.catalogue import write
from tests.support.git_repository import git

REVISION = "0123456789abcdef0123456789abcdef01234567"


def test_comfyui_without_git_is_its_official_release(tmp_path: Path) -> None:
    write(tmp_path / "comfyui_version.py", '__version__ = "0.30.0"\n')
    official = "https://github.com/comfyanonymous/ComfyUI"
    expected = {"origin": official, "commit": None, "dirty": None, "version": "0.30.0"}
    assert comfyui(tmp_path) == expected
    record = {"source": "git", "origin": "https://u:p@mirror.example/ComfyUI", "commit": REVISION, "version": "0.30.0"}
    write(tmp_path / "runflow-install.json", json.dumps(record))
    assert comfyui(tmp_path) == {**expected, "origin": "https://mirror.example/ComfyUI", "commit": REVISION}
    assert comfyui(tmp_path / "nowhere") == {"origin": None, "commit": None, "dirty": None, "version": None}


def test_comfyui_under_git(tmp_path: Path) -> None:
    write(tmp_path / "comfyui_version.py", '__version__ = "0.31.0"\n')
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    git(tmp_path, "remote", "add", "origin", "https://example.com/fork")
    commit = git(tmp_path, "rev-parse", "HEAD")
    found = comfyui(tmp_path)
    assert found == {"origin": "https://example.com/fork", "commit": commit, "dirty": False, "version": "0.31.0"}


def test_the_machine_names_its_python() -> None:
    assert machine()["python"].startswith("3.")


def test_custom_nodes_are_those_that_the_prompt_uses(tmp_path: Path) -> None:
    modules = {"A": "custom_nodes.pack", "B": "nodes", "C": "comfy_extras.nodes_x", "D": "custom_nodes.single"}
    prompt = {str(number): {"class_type": name} for number, name in enumerate("ABCDE")}
    assert folders_used(prompt, modules) == {"pack": ["A"], "single": ["D"]}

    pack = tmp_path / "pack"
    write(
        pack / "pyproject.toml",
        '[project]\nname = "a-pack"\nversion = "1.2.3"\ndependencies = ["numpy>=1", "own @ https://t@h/x"]\n',
    )
    write(
        pack / "requirements.txt",
        "opencv-python  # eyes\n--extra-index-url https://u:p@x\n# no\ngit+https://t@h/x\nnumpy>=1\nC:\\me\\x.whl\nlibs/x.whl\n",
    )
    write(pack / ".tracking")
    write(tmp_path / "single.py")
    nothing = {"origin": None, "commit": None, "dirty": None}
    assert custom_nodes({"single": ["D"], "pack": ["A"], "gone": ["X"]}, [tmp_path / "nowhere", tmp_path]) == {
        "pack": {
            **nothing,
            "version": "1.2.3",
            "registry_id": "a-pack",
            "dependencies": ["numpy>=1", "opencv-python"],
            "classes": ["A"],
        },
        "single": {**nothing, "dependencies": [], "classes": ["D"]},
    }
    write(pack / "pyproject.toml", "= broken")
    assert "version" not in custom_nodes({"pack": ["A"]}, [tmp_path])["pack"]


@pytest.mark.parametrize("place", ["plugin", "."])
def test_this_plugin_is_marked_as_a_folder_and_as_a_clone(place: str) -> None:
    folder = (Path(__file__).parents[3] / place).resolve()
    entry = custom_nodes({folder.name: []}, [folder.parent])[folder.name]
    assert (entry["version"], entry["plugin"]) == (VERSION, True)


def test_packages_are_listed_once_by_name() -> None:
    names = [package["name"].lower() for package in packages()]
    assert names == sorted(set(names))
    assert "pytest" in names
    assert all("@" not in str(package.get("origin", "")) for package in packages())

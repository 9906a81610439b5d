"""Files stay small and are named after what they hold."""

import subprocess

import pytest

from tests.support.source import PLUGIN, ROOT, python_files

LONGEST = 500
VAGUE = frozenset("util utils helper helpers common misc shared stuff tools".split())


def test_no_file_is_longer_than_500_lines() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in python_files()}
    too_long = [f"{name}: {length} lines" for name, length in lengths.items() if length > LONGEST]
    assert too_long == [], "split " + ", ".join(too_long)


def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {part for path in python_files() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert parts & VAGUE == set()


def test_test_folders_are_no_packages() -> None:
    """Two test files of one name may stand in two folders; an `__init__.py` would make them collide."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("pattern", ["*.so", "*.whl", "*.safetensors", "*.ckpt", "*.pyc"])
def test_no_built_file_is_committed(pattern: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    command = ["git", "-c", "safe.directory=*", "ls-files", pattern]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == ""


def test_every_script_of_the_plugin_page_is_meant_for_every_comfyui_page() -> None:
    """Every .js below WEB_DIRECTORY is imported by each ComfyUI page: the playground's own pages stay outside of it."""
    web = PLUGIN / "web"
    scripts = {path.name: path.read_text() for path in web.rglob("*.js")}
    assert len(scripts) > 5
    assert [
        name for name, text in scripts.items() if "customElements.define" in text or "playground/static" in text
    ] == []

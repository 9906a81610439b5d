"""The plugin loads from every place it can be put, and asks for nothing that is not there."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.comfyui_import import loaded_as_custom_node

CLONE = Path(__file__).resolve().parents[2]
NODES = {
    "RunflowInputString",
    "RunflowInputInt",
    "RunflowInputFloat",
    "RunflowInputBoolean",
    "RunflowInputImage",
    "RunflowInputFile",
    "RunflowInputChoice",
    "RunflowOutputImage",
    "RunflowOutputFile",
    "RunflowDeploy",
}


@pytest.fixture
def custom_nodes(tmp_path: Path) -> Path:
    """An empty custom_nodes folder below a folder with a dot and a blank in its name."""
    folder = tmp_path / "Comfy UI v0.30" / "custom_nodes"
    folder.mkdir(parents=True)
    return folder


def check_nodes(folder: Path) -> None:
    with loaded_as_custom_node(folder) as module:
        assert set(module.NODE_CLASS_MAPPINGS) == NODES
        assert set(module.NODE_DISPLAY_NAME_MAPPINGS) == NODES
        for name, node_class in module.NODE_CLASS_MAPPINGS.items():
            assert node_class.__name__ == name
            assert callable(getattr(node_class(), node_class.FUNCTION))
            assert node_class.INPUT_TYPES().keys() <= {"required", "optional", "hidden"}
        assert (folder / module.WEB_DIRECTORY / "deploy_node.js").is_file()


def test_a_clone_of_the_repository_loads_as_the_plugin(custom_nodes: Path) -> None:
    folder = custom_nodes / "ComfyUI-Runflow"
    ignore = shutil.ignore_patterns(".*", "__pycache__", "docs", "benchmarks")
    shutil.copytree(CLONE, folder, symlinks=True, ignore=ignore)
    check_nodes(folder)


def test_the_plugin_folder_alone_loads(custom_nodes: Path) -> None:
    shutil.copytree(CLONE / "plugin", custom_nodes / "ComfyUI-Runflow")
    check_nodes(custom_nodes / "ComfyUI-Runflow")


def test_loading_imports_nothing_but_the_standard_library() -> None:
    program = f"""
import sys
sys.path = [entry for entry in sys.path if "site-packages" not in entry] + [{str(CLONE)!r}]
import plugin
assert len(plugin.NODE_CLASS_MAPPINGS) == {len(NODES)}
foreign = {{name.split(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names) - {{"plugin", "__main__"}}
assert not foreign, foreign
"""
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("source", sorted((CLONE / "plugin").rglob("*.py")), ids=lambda path: path.name)
def test_the_sources_are_python_3_10_and_import_relatively(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"), feature_version=(3, 10))
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom) and statement.level == 0:
            assert (statement.module or "").split(".")[0] not in ("plugin", "runflow")
        elif isinstance(statement, ast.Import):
            assert not {alias.name.split(".")[0] for alias in statement.names} & {"plugin", "runflow"}


def test_the_server_uses_the_same_graph_package() -> None:
    import runflow.graph

    assert Path(runflow.graph.__file__).resolve() == CLONE / "plugin" / "graph" / "__init__.py"

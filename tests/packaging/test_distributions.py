"""What is in the sdist and in the wheel."""

import tarfile
import zipfile
from pathlib import Path

from tests.packaging.conftest import Built
from tests.support.source import PACKAGE, PLUGIN, ROOT


def files_of(folder: Path) -> set[str]:
    """Return the files below a folder that a distribution should hold, as relative paths."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths}


def wheel_names(built: Built) -> list[str]:
    with zipfile.ZipFile(built.wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_whole_plugin_and_the_graph_package(built: Built) -> None:
    names = set(wheel_names(built))
    assert {f"runflow/_plugin/{name}" for name in files_of(PLUGIN)} <= names
    assert {f"runflow/graph/{name}" for name in files_of(PLUGIN / "graph")} <= names
    assert "runflow/_plugin/nodes/inputs.py" in names
    assert "runflow/graph/interface.py" in names


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built: Built) -> None:
    own = {f"runflow/{name}" for name in files_of(PACKAGE) if not name.startswith("graph/")}
    names = wheel_names(built)
    rest = {name for name in names if not name.startswith(("runflow/_plugin/", "runflow/graph/"))}
    assert {name for name in rest if name.startswith("runflow/")} == own
    assert {name.split("/")[0] for name in names} == {
        "runflow",
        built.wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info",
    }
    assert len(names) == len(set(names))
    assert [name for name in names if name.endswith(".pyc")] == []


def test_the_wheel_holds_what_is_no_python(built: Built) -> None:
    names = set(wheel_names(built))
    assert {"runflow/py.typed", "runflow/web/lists/grammar.lark"} <= names
    migrations = {f"runflow/db/migrations/{path.name}" for path in (PACKAGE / "db/migrations").glob("*.sql")}
    assert migrations
    assert migrations <= names


def test_the_wheel_carries_licence_command_and_python_bound(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        texts = {
            name.split(".dist-info/")[1]: archive.read(name).decode()
            for name in archive.namelist()
            if ".dist-info/" in name
        }
    assert texts["licenses/LICENSE"] == (ROOT / "LICENSE").read_text()
    assert "runflow = runflow.cli:main" in texts["entry_points.txt"]
    assert "License-Expression: Apache-2.0" in texts["METADATA"]
    assert "Requires-Python: >=3.11" in texts["METADATA"]


def test_the_sdist_builds_tests_and_locks_itself(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    names = {member.name.split("/", 1)[1] for member in members}
    assert {"pyproject.toml", "requirements/all.lock", "scripts/setup", "__init__.py", "LICENSE"} <= names
    assert {"plugin/graph/bind.py", "src/runflow/settings.py", "tests/conftest.py"} <= names
    assert [member.name for member in members if not member.isfile()] == []
    assert [name for name in names if name.startswith((".", "src/runflow/graph")) and name != ".gitignore"] == []

"""Imports point one way: cli → web → nouns → db and storage; worker and client speak HTTP (design: "Layout")."""

import ast
import sys
from itertools import pairwise

import pytest

from tests.support.source import PACKAGE, Module, plugin_modules, server_modules

NOUNS = frozenset(
    "orgs keys workflows runs batches assets callbacks webhooks evaluations gpus workers metering deliveries "
    "audit retention models".split()
)
PLAIN = frozenset({"bucket", "errors", "ids", "settings", "logs", "trust", "__version__"})
"""What every room may import: it imports nothing of ours itself, but one of its kind."""
TOP = frozenset({"cli", "demo", "supervisor", "server", "installation", "__main__", "worker", "client"})
"""What stands above the nouns, or beside the server."""

MAY_IMPORT: dict[str, frozenset[str]] = {
    "db": PLAIN | {"master_key"},
    "storage": PLAIN | {"master_key"},
    "outgoing": PLAIN | {"graph"},
    "web": PLAIN | {"services", "db", "storage", "master_key"},
    "worker": PLAIN | {"graph", "outgoing", "client", "plugin_install"},
    "client": PLAIN | {"graph"},
    "master_key": PLAIN,
    "plugin_install": PLAIN,
    **dict.fromkeys(PLAIN, PLAIN),
}
"""Rooms with few friends: what each may import beside itself. storage/routes.py is a route, see below."""

COMFYUI_BRINGS = frozenset(
    "numpy PIL torch torchaudio av aiohttp multidict yarl psutil folder_paths comfy comfy_api comfy_execution server "
    "nodes".split()
)
"""What the plugin may import beside the standard library: ComfyUI installs or is it."""


def test_each_room_imports_only_what_is_below_it() -> None:
    faults = []
    for module in server_modules():
        allowed = MAY_IMPORT.get(module.room)
        if module.name == "storage/routes.py":
            allowed = MAY_IMPORT["web"] | {"web"}
        for line, target in our_rooms(module):
            if allowed is not None:
                wrong = target not in allowed
            elif module.room in NOUNS:
                wrong = target in TOP
            else:
                wrong = target == "cli" and module.room != "__main__"
            if wrong:
                faults.append(f"src/runflow/{module.name}:{line}: {module.room} imports runflow.{target}")
    assert faults == [], "\n".join(faults)


def our_rooms(module: Module) -> list[tuple[int, str]]:
    """Return (line, room) of each import of another room."""
    rooms = []
    for line, name in module.imports():
        parts = name.split(".")
        if parts[0] == "runflow" and len(parts) > 1 and parts[1] != module.room:
            rooms.append((line, parts[1]))
    return rooms


def test_each_folder_is_a_room_that_these_rules_know() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    known = NOUNS | TOP | MAY_IMPORT.keys() | {"graph", "fleet", "dashboard"}
    assert folders - known == set(), "say in this test what the new folder may import"


def test_http_stays_in_routes_and_web() -> None:
    rooms = {"web", "server", "services"}
    faults = [
        f"src/runflow/{module.name}:{line}: {name}"
        for module in server_modules()
        for line, name in module.imports()
        if name.split(".")[0] == "fastapi" and module.room not in rooms
        if module.path.name != "routes.py"
    ]
    assert faults == [], "\n".join(faults)


def test_the_pure_graph_imports_the_standard_library_and_itself_only() -> None:
    faults = [
        f"plugin/{module.name}:{line}: {name}"
        for module in plugin_modules()
        if module.room == "graph"
        for line, name in module.imports()
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("plugin.graph")
    ]
    assert faults == [], "\n".join(faults)


def test_the_plugin_needs_nothing_that_comfyui_does_not_install() -> None:
    faults = [
        f"plugin/{module.name}:{line}: {name}"
        for module in plugin_modules()
        for line, name in module.imports()
        if name.split(".")[0] not in sys.stdlib_module_names | COMFYUI_BRINGS | {"plugin"}
    ]
    assert faults == [], "\n".join(faults)


@pytest.mark.parametrize("room", ["worker", "client"])
def test_worker_and_client_hold_no_database_driver(room: str) -> None:
    drivers = {"sqlalchemy", "psycopg", "alembic", "fastapi", "obstore"}
    faults = [
        f"src/runflow/{module.name}:{line}: {name}"
        for module in server_modules()
        if module.room == room
        for line, name in module.imports()
        if name.split(".")[0] in drivers
    ]
    assert faults == [], "\n".join(faults)


def test_our_own_processes_do_not_import_from_where_they_are_started() -> None:
    """`python -m` looks into the working folder first, and beside a clone named runflow that is not the package."""
    faults = []
    for module in server_modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Tuple | ast.List):
                values = [one.value if isinstance(one, ast.Constant) else None for one in node.elts]
                words = [value if isinstance(value, str) else "" for value in values]
                for at, (flag, name) in enumerate(pairwise(words)):
                    if flag == "-m" and name.split(".")[0] == "runflow" and words[max(0, at - 1)] != "-P":
                        faults.append(f"src/runflow/{module.name}:{node.lineno}: -m {name} without -P")
    assert faults == [], "\n".join(faults)

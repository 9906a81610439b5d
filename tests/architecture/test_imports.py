"""Imports point down, as the tables of docs/architecture.md say; worker and client speak HTTP."""

import ast
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

import pytest

from tests.support.source import PLUGIN, ROOT, Module, plugin_modules, server_modules

PAGE = ROOT / "docs" / "architecture.md"
PLAIN = "plain"
EVERYTHING = "everything but "
TABLES = {"Who may import whom": server_modules, "Who may import whom in the plugin": plugin_modules}
"""The heading above each table, and the modules whose rooms it names."""

both = pytest.mark.parametrize("heading", TABLES)


def allowed_imports(heading: str) -> dict[str, frozenset[str]]:
    """Return, by room, the rooms that it may import, as the table below a heading of docs/architecture.md says."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?:`|\*)(\w+)(?:`|\*) \| (.+) \|$", section, re.MULTILINE)
    plain = frozenset(next(cell for room, cell in rows if room == PLAIN).split(", "))
    rooms = frozenset(room for room, _ in rows if room != PLAIN) | plain
    allowed = dict.fromkeys(plain, plain)
    for room, cell in rows:
        words = frozenset(cell.replace("`", "").removeprefix(EVERYTHING).split(", "))
        if cell.startswith(EVERYTHING):
            allowed[room] = rooms - words
        elif room != PLAIN:
            allowed[room] = (words - {PLAIN, "nothing"}) | (plain if PLAIN in words else frozenset())
    return allowed


COMFYUI_BRINGS = frozenset(
    "numpy PIL torch torchaudio av aiohttp multidict yarl psutil folder_paths comfy comfy_api comfy_execution server "
    "nodes".split()
)
"""What the plugin may import beside the standard library: ComfyUI installs or is it."""


@both
def test_each_room_imports_only_what_the_table_allows(heading: str) -> None:
    allowed = allowed_imports(heading)
    faults = [
        f"{module.path.relative_to(ROOT)}:{line}: {module.room} imports {module.base.name}.{target}"
        for module in TABLES[heading]()
        if module.room in allowed
        for line, target in our_rooms(module)
        if target not in allowed[module.room]
    ]
    assert faults == [], "\n".join(faults)


def test_the_tables_name_the_rooms_that_are_there() -> None:
    server, plugin = (allowed_imports(heading).keys() for heading in TABLES)
    assert server == {module.room for module in server_modules()} - {"__init__"} | {"graph"}
    assert plugin == {module.room for module in plugin_modules()}


@both
def test_no_rooms_and_no_modules_import_in_a_circle(heading: str) -> None:
    modules = {name_of(module): module for module in TABLES[heading]()}
    imports = {name: set(targets(module, modules.keys())) for name, module in modules.items()}
    rooms: dict[str, set[str]] = {}
    for name, found in imports.items():
        room = room_of(name)
        rooms.setdefault(room, set()).update({room_of(target) for target in found} - {room, "__init__"})
    assert circle(imports) is None, "modules import in a circle: " + " → ".join(circle(imports) or ())
    assert circle(rooms) is None, "rooms import in a circle: " + " → ".join(circle(rooms) or ())


def name_of(module: Module) -> str:
    """Return the dotted name of a module."""
    return f"{module.base.name}/{module.name}".removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def room_of(name: str) -> str:
    """Return the room of a dotted name."""
    return ([*name.split("."), "__init__"])[1]


def targets(module: Module, known: Collection[str]) -> Iterator[str]:
    """Yield the modules of ours that a module imports: of `from a import b` the module `a.b`, or else `a`."""
    for _, name in module.imports():
        for candidate in (name, name.rpartition(".")[0]):
            if candidate in known and candidate != name_of(module):
                yield candidate
                break


def circle(graph: Mapping[str, Collection[str]]) -> list[str] | None:
    """Return the nodes of one circle, None when there is none."""
    done: set[str] = set()
    path: list[str] = []

    def visit(node: str) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        path.append(node)
        for target in sorted(graph.get(node, ())):
            if found := visit(target):
                return found
        path.pop()
        done.add(node)
        return None

    return next((found for node in sorted(graph) if (found := visit(node))), None)


def our_rooms(module: Module) -> list[tuple[int, str]]:
    """Return (line, room) of each import of another room."""
    rooms = []
    for line, name in module.imports():
        parts = name.split(".")
        if parts[0] == module.base.name and len(parts) > 1 and parts[1] not in (module.room, "__version__"):
            rooms.append((line, parts[1]))
    return rooms


def test_http_stays_in_routes_and_web() -> None:
    rooms = {"web", "server"}
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


def test_the_nodes_and_the_manifest_of_the_plugin_and_what_they_rest_on_know_no_server() -> None:
    rooms = allowed_imports("Who may import whom in the plugin")["nodes"] | {"nodes", "manifest"}
    faults = [
        f"plugin/{module.name}:{line}: {name}"
        for module in plugin_modules()
        if module.room in rooms
        for line, name in module.imports()
        if name.split(".")[0] in ("aiohttp", "multidict", "server")
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
    drivers = {"sqlalchemy", "psycopg", "fastapi", "obstore"}
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
        for node in module.nodes:
            if isinstance(node, ast.Tuple | ast.List):
                values = [one.value if isinstance(one, ast.Constant) else None for one in node.elts]
                words = [value if isinstance(value, str) else "" for value in values]
                for at, (flag, name) in enumerate(pairwise(words)):
                    if flag == "-m" and name.split(".")[0] == "runflow" and words[max(0, at - 1)] != "-P":
                        faults.append(f"src/runflow/{module.name}:{node.lineno}: -m {name} without -P")
    assert faults == [], "\n".join(faults)


def test_the_plugin_names_the_timeouts_of_asyncio() -> None:
    """It runs on Python 3.10 (plugin/pyproject.toml), where `asyncio.TimeoutError` is no `TimeoutError`."""
    bare = re.compile(r"(?<!asyncio\.)\bTimeoutError\b")
    found = [path.relative_to(ROOT).as_posix() for path in PLUGIN.rglob("*.py") if bare.search(path.read_text())]
    assert found == []

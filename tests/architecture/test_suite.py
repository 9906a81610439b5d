"""Tests stand alone, and stand where their source does (docs/architecture.md, "Tests")."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.source import PACKAGE, ROOT, TESTS, Module, modules_of_tests

NO_MIRROR = {
    "architecture": "about the source as a whole",
    "browser": "the editor and its pages, whatever serves them",
    "chaos": "what is left when processes die",
    "contract": "what clients other than ours rely on",
    "e2e": "whole installations",
    "packaging": "the distributions",
    "plugin": "its features get rooms of their own first",
}
"""Folders of tests that mirror no folder of the source, and what they are about instead."""

OF_NO_MODULE = {
    "accounts/audit/test_coverage.py": "generated from the table of routes",
    "cli/test_commands.py": "cli/__init__.py: all commands together",
    "db/test_tenants.py": "every table, read from the database's catalogue",
    "evaluations/judges/test_corpus_rates.py": "all judges together on one corpus",
    "storage/test_stored_files.py": "web/stored_files.py, on the storage that this folder's fixtures make",
    "web/idempotency/test_every_route.py": "generated from the table of routes",
    "web/lists/test_every_list.py": "generated from the OpenAPI document",
    "web/test_error_shapes.py": "generated from the table of routes",
    "web/test_tenants.py": "generated from the table of routes",
}
"""Files of tests that are about no module or folder of the source beside which they stand, and what they are about."""

LONGEST_SLEEP = 0.2
"""Seconds between two looks of a test that waits."""

SLEEPS = {
    "browser/playground_nodes.py::run": "a node that takes a while, as nodes do",
    "worker/engine/test_session.py::talk_first": "an engine that answers late",
    "worker/test_watchdog.py::test_a_worker_that_is_stopped_for_a_while_does_not_hang": "time that must not count",
    "worker/attempts/test_attempt_stops.py::test_waiting_for_the_engine_does_not_count": "a watched timer of the loop",
}
"""Tests that sleep otherwise than between two looks, and why no fixed time decides what they say."""


def imported_files(module: Module) -> Iterator[tuple[int, Path]]:
    """Yield (line, file) of every import of another file below tests/."""
    for line, name in module.imports():
        first, *parts = name.split(".")
        # Of `from a import b`, `b` is a module or something in `a`.
        for end in (len(parts), len(parts) - 1):
            path = TESTS.joinpath(*parts[: max(end, 0)]).with_suffix(".py")
            if first == "tests" and end > 0 and path.is_file():
                yield line, path
                break


def may_import(importer: Path, imported: Path) -> bool:
    """Return whether a file of tests may import another: of support/, of its own folder or those above."""
    if imported.stem.startswith("test_"):
        return False
    return TESTS / "support" in imported.parents or imported.parent in importer.parents


def mirrored(test: Path) -> bool:
    """Return whether a module or folder of the source has the test's name: `test_x.py` or `test_x_aspect.py` of `x`."""
    name = test.relative_to(TESTS)
    base = {"support": TESTS, "plugin": ROOT, "benchmarks": ROOT}.get(name.parts[0], PACKAGE)
    folder = base / name.parent
    words = test.stem.removeprefix("test_").split("_")
    subjects = ["_".join(words[:end]) for end in range(1, len(words) + 1)]
    return any(
        (folder / subject).is_dir() or (folder / f"{subject}.py").exists() or (folder / f"__{subject}__.py").exists()
        for subject in subjects
    )


def test_no_test_imports_what_belongs_to_other_tests() -> None:
    faults = [
        f"tests/{module.name}:{line}: {path.relative_to(ROOT)}"
        for module in modules_of_tests()
        for line, path in imported_files(module)
        if not may_import(module.path, path)
    ]
    assert faults == [], "put what they share into tests/support:\n" + "\n".join(faults)


def test_what_tests_share_imports_nothing_of_one_folder() -> None:
    faults = [
        f"tests/{module.name}:{line}: {path.relative_to(ROOT)}"
        for module in modules_of_tests()
        if module.room in ("support", "conftest")
        for line, path in imported_files(module)
        if TESTS / "support" not in path.parents
    ]
    assert faults == [], "\n".join(faults)


def test_tests_mirror_the_source() -> None:
    strays = {
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("test_*.py")
        if path.relative_to(TESTS).parts[0] not in NO_MIRROR and not mirrored(path)
    }
    assert strays - OF_NO_MODULE.keys() == set(), "name them after what they test, or list them with a reason"
    assert OF_NO_MODULE.keys() - strays == set(), "no longer so: take it off the list"


def test_programs_inside_tests_import_what_is_there() -> None:
    """Tests start processes from programs in strings, in which no tool sees a module that has moved."""
    faults = []
    for module in modules_of_tests():
        for line, text in module.strings():
            for name in imports_of(text):
                parts = name.split(".")
                base = {"runflow": PACKAGE.parent, "plugin": ROOT, "tests": ROOT}.get(parts[0])
                path = (base or ROOT).joinpath(*parts)
                if base and not path.is_dir() and not path.with_suffix(".py").exists():
                    faults.append(f"tests/{module.name}:{line}: {name}")
    assert faults == [], "\n".join(faults)


def imports_of(program: str) -> list[str]:
    """Return the modules that a program imports, none where the text is no program."""
    if "import " not in program:
        return []
    try:
        tree = ast.parse(program)
    except SyntaxError:
        return []
    nodes = list(ast.walk(tree))
    direct = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return direct + [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]


def test_no_fixed_sleep_decides_what_a_test_says() -> None:
    found = {
        f"{module.name}::{function}": line
        for module in modules_of_tests()
        if module.room != "support"
        for function, line in fixed_sleeps(module.tree)
    }
    faults = [f"tests/{name} (line {line})" for name, line in found.items() if name not in SLEEPS]
    assert faults == [], "wait until it is so (tests/support/waiting.py):\n" + "\n".join(faults)
    assert SLEEPS.keys() - found.keys() == set(), "no longer so: take it off the list"


def fixed_sleeps(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield (function, line) of each sleep of a fixed time that is no pause of a `while` loop, or is a long one."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def visit(node: ast.AST, function: str, looping: bool) -> Iterator[tuple[str, int]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function, looping = node.name, False
        elif isinstance(node, ast.While):
            looping = True
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("asyncio.sleep", "time.sleep", "sleep"):
            given = node.args[0] if node.args else None
            seconds = constants.get(given.id) if isinstance(given, ast.Name) else getattr(given, "value", None)
            if isinstance(seconds, int | float) and (seconds > LONGEST_SLEEP or (seconds > 0 and not looping)):
                yield function, node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, looping)

    yield from visit(tree, "", looping=False)

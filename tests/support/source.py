"""The project's own source, parsed: which modules there are, what they import, what they say."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "runflow"
PLUGIN = ROOT / "plugin"
TESTS = ROOT / "tests"


@dataclass(frozen=True)
class Module:
    """One Python file. `room` is its folder or module directly below the package: `runs`, `web`, `settings`."""

    path: Path
    base: Path

    @property
    def name(self) -> str:
        """Its path below the source folder, as the tests' messages and lists write it: `queue/leases.py`."""
        return self.path.relative_to(self.base).as_posix()

    @property
    def room(self) -> str:
        """The first part of its name, without `.py`."""
        return self.name.split("/")[0].removesuffix(".py")

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.path.read_text(), self.path)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree: walking through it takes longer than parsing the file."""
        return tuple(ast.walk(self.tree))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield (line, dotted name) of every import, those inside functions and for types only included.

        `from a import b` yields `a.b`; a relative import yields the absolute name below the folder of the source.
        """
        package = list(self.path.relative_to(self.base.parent).parent.parts)
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                start = [*above, node.module] if node.module else above
                yield from ((node.lineno, ".".join([*start, alias.name])) for alias in node.names)

    def strings(self) -> Iterator[tuple[int, str]]:
        """Yield (line, text) of every string that is not a docstring."""
        documentation = {
            id(node.value) for node in self.nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in self.nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                yield node.lineno, node.value


@cache
def server_modules() -> tuple[Module, ...]:
    """Return every module of src/runflow but the link `graph`."""
    paths = [path for path in PACKAGE.rglob("*.py") if PACKAGE / "graph" not in path.parents]
    return tuple(Module(path, PACKAGE) for path in sorted(paths))


@cache
def plugin_modules() -> tuple[Module, ...]:
    """Return every module of plugin/."""
    return tuple(Module(path, PLUGIN) for path in sorted(PLUGIN.rglob("*.py")))


@cache
def modules_of_tests() -> tuple[Module, ...]:
    """Return every module of tests/."""
    return tuple(Module(path, TESTS) for path in sorted(TESTS.rglob("*.py")))


def python_files() -> list[Path]:
    """Return every Python file that we write."""
    folders = ("src", "plugin", "tests", "benchmarks", "scripts")
    files = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [path for path in files if PACKAGE / "graph" not in path.parents]

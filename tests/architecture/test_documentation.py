"""Whatever a person can meet is documented: settings, error codes, routes, commands."""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from runflow import cli, client
from runflow.errors import ALL_ERRORS
from runflow.server import ROUTES
from runflow.settings import Settings
from runflow.web.route_table import Access
from tests.support.source import PLUGIN, ROOT, server_modules

API_PAGES = [ROOT / "docs" / "api.md", *sorted((ROOT / "docs" / "api").glob("*.md"))]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def document(name: str) -> str:
    """Return the text of a document of docs/; `api.md` with its pages, one per noun, in docs/api/."""
    pages = sorted((ROOT / "docs" / "api").glob("*.md")) if name == "api.md" else []
    return "\n".join(path.read_text() for path in [ROOT / "docs" / name, *pages])


def mentions(text: str, words: str) -> bool:
    """Return whether `words` stand in the text, not as a part of longer ones."""
    return re.search(rf"(?<![\w/-]){re.escape(words)}(?![\w/{{-])", text) is not None


def anchors(page: Path) -> set[str]:
    """Return the names by which the headings of a page can be linked to, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def table_rows(page: Path) -> list[tuple[str, str, str]]:
    """Return method, path and scopes of each row of a page's table of routes."""
    return re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|.*\| ([^|]+) \|$", page.read_text(), flags=re.MULTILINE)


def environment_names() -> set[str]:
    """Return every environment variable of ours: the settings, and names that the source reads itself."""
    read = {
        text
        for module in server_modules()
        for _, text in module.strings()
        if re.fullmatch(r"RUNFLOW_[A-Z0-9_]*[A-Z0-9]", text)
    }
    return read | {f"RUNFLOW_{name.upper()}" for name in Settings.model_fields}


def commands(command: Any, path: str = "runflow") -> list[str]:
    """Return the full name of every command below this one, which is a Click command or group."""
    if not hasattr(command, "list_commands"):
        return [path]
    context = typer.Context(command)
    names = command.list_commands(context)
    return [full for name in names for full in commands(command.get_command(context, name), f"{path} {name}")]


def test_every_setting_is_in_the_operations_guide() -> None:
    text = document("operations.md")
    assert [name for name in sorted(environment_names()) if not mentions(text, name)] == []


def test_every_error_code_is_in_the_api_guide() -> None:
    text = document("api.md")
    assert [code for code in sorted({error.code for error in ALL_ERRORS}) if not mentions(text, code)] == []


def test_every_route_is_in_a_guide() -> None:
    """Method and path stand in one line; the worker's routes have a guide of their own."""
    missing = []
    for route in ROUTES:
        name = "worker-api.md" if route.access is Access.WORKER else "api.md"
        method, shown = route.method, route.served_path
        if not any(mentions(line, method) and mentions(line, shown) for line in document(name).splitlines()):
            missing.append(f"docs/{name}: {method} {shown}")
    assert missing == []


def test_each_route_has_one_row_in_the_tables_of_routes_with_its_scopes() -> None:
    """Without the worker's routes, which have a guide of their own."""
    rows = [row for page in API_PAGES for row in table_rows(page)]
    routes = {(route.method, route.served_path): route.access for route in ROUTES if route.access is not Access.WORKER}
    assert sorted((method, path) for method, path, _ in rows) == sorted(routes)
    for method, path, shown in rows:
        access = routes[method, path]
        said = set(re.findall(r"`([^`]+)`", shown))
        assert said == (set() if isinstance(access, Access) else access), f"{method} {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not link.startswith(("https:", "http:")) and (
            not target.exists() or (anchor and anchor not in anchors(target))
        ):
            broken.append(link)
    assert broken == []


def test_every_command_is_in_the_command_line_guide() -> None:
    text = document("cli.md")
    names = commands(typer.main.get_command(cli.app))
    assert len(names) > 1
    assert [name for name in names if not mentions(text, name)] == []


def test_every_method_and_class_of_the_sdk_is_in_its_guide() -> None:
    text = document("python.md")
    methods = {name for name in vars(client.Runflow) if not name.startswith("_")} - {"close", "url"}
    assert [name for name in sorted(methods) if not re.search(rf"\b{name}\(", text)] == []
    assert [name for name in client.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_the_examples_of_the_sdk_call_what_is_there() -> None:
    blocks = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]
    examples = [block for block in blocks if "runflow" in block]
    called = [name for block in examples for name in re.findall(r"\b(?:runflow|client)\.(\w+)\(", block)]
    imported = [
        name
        for block in examples
        for line in re.findall(r"from runflow.client import (.+)", block)
        for name in line.split(", ")
    ]
    assert len(called) > 10 and len(imported) > 5
    assert [name for name in called if not hasattr(client.Runflow, name)] == []
    assert {*imported} <= {*client.__all__}
    for block in examples:
        compile(textwrap.dedent(block), "an example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_guide_for_contributors_is_short_and_each_path_that_it_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert text.count("\n") <= 60
    paths = re.findall(r"`((?:\.ci|benchmarks|docs|plugin|requirements|scripts|src|tests)/[^` ]*|[\w.]+\.toml)", text)
    assert len(paths) > 25
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_changes_begin_with_what_is_not_released() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert sections[0] == "[Unreleased]"
    assert [
        section for section in sections[1:] if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", section)
    ] == []


CITED = re.compile(r"(?<![\w./-])((?:[\w.-]+/)*[\w-]+\.md)\b((?:(?:,? and |, )\"[^\"]+\")*)")
"""A page, and the headings that are named behind it: `docs/api/runs.md, "Reading" and "Failures"`."""
NOT_CODE = {".png", ".svg", ".woff2", ".jpg", ".webp", ".glb", ".ico", ".json", ".md"}


def cited() -> Iterator[tuple[str, str, list[str]]]:
    """Yield (file, page, headings) of every page that the project's code names in docstrings, comments and strings."""
    for folder in ("src", "plugin", "tests", "benchmarks", "types"):
        for path in sorted((ROOT / folder).rglob("*")):
            ours = not {"vendor", "node_modules", "__pycache__"} & {*path.parts}
            if not ours or not path.is_file() or path.suffix in NOT_CODE:
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            # A citation may go on in the next line, also in that of a comment.
            text = re.sub(r"\s*\n\s*(?:#|//|--)?\s*", " ", text).replace('\\"', '"')
            for page, headings in CITED.findall(text):
                yield path.relative_to(ROOT).as_posix(), page, re.findall(r'"([^"]+)"', headings)


def test_every_page_that_the_code_cites_exists_with_the_headings_that_it_names() -> None:
    """Written from the repository's root; tests may leave out `docs/`, or name a file next to the plugin's own."""
    missing = []
    for file, page, headings in sorted(cited(), key=str):
        starts = [ROOT, ROOT / "docs", PLUGIN / "playground" / "static"] if file.startswith("tests/") else [ROOT]
        found = next((start / page for start in starts if (start / page).exists()), None)
        if found is None:
            missing.append(f"{file}: {page}")
            continue
        known = re.findall(r"^#+ (.+)$", found.read_text(), flags=re.MULTILINE)
        missing += [f'{file}: {page}, "{heading}"' for heading in headings if heading not in known]
    assert missing == []

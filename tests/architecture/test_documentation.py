"""Whatever a person can meet is documented: settings, error codes, routes, commands."""

import re
from typing import Any

import typer

from runflow import cli
from runflow.errors import ALL_ERRORS
from runflow.settings import Settings
from runflow.web.scopes import ROUTE_SCOPES
from tests.architecture.source import ROOT, server_modules


def document(name: str) -> str:
    """Return the text of a document of docs/; `api.md` with its pages, one per noun, in docs/api/."""
    pages = sorted((ROOT / "docs" / "api").glob("*.md")) if name == "api.md" else []
    return "\n".join(path.read_text() for path in [ROOT / "docs" / name, *pages])


def mentions(text: str, words: str) -> bool:
    """Return whether `words` stand in the text, not as a part of longer ones."""
    return re.search(rf"(?<![\w/-]){re.escape(words)}(?![\w/{{-])", text) is not None


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
    for method, path in sorted(ROUTE_SCOPES):
        name = "worker-api.md" if path.startswith("/v1/worker/") else "api.md"
        shown = path.replace(":path}", "}")
        if not any(mentions(line, method) and mentions(line, shown) for line in document(name).splitlines()):
            missing.append(f"docs/{name}: {method} {shown}")
    assert missing == []


def test_every_command_is_in_the_command_line_guide() -> None:
    text = document("cli.md")
    names = commands(typer.main.get_command(cli.app))
    assert len(names) > 1
    assert [name for name in names if not mentions(text, name)] == []

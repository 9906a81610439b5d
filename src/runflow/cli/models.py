"""`runflow models`: model files that the server keeps for its workers."""

import re
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from runflow.cli.calling import Json, Key, Server, calling, print_json, say
from runflow.cli.console import FAILED, INTERRUPTED, WRONG_CALL, console, fail, program
from runflow.cli.settings import load_settings
from runflow.cli.tables import print_table, size

if TYPE_CHECKING:
    from runflow.cli.following import Display
    from runflow.client import Model, ModelProgress, Runflow
    from runflow.worker.store.content import ContentStore

app = typer.Typer(
    add_completion=False,
    help="List, add and remove model files that workers fetch from the server.",
    no_args_is_help=True,
)

SHORT = 12
"""So much of a SHA-256 is shown, and finds the model again."""
MOST_SHOWN = 3
FOLDER = "checkpoints"
_SHORTEST = 6
STAGES = {"hash": "Hashing", "send": "Sending", "check": "The server checks"}


@app.command("list")
def list_models(
    q: Annotated[str | None, typer.Option("--query", "-q", help="A filter, as lists of the API take it.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.", min=1)] = 50,
    store: Annotated[bool, typer.Option("--store", help="What this machine's workers have fetched instead.")] = False,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List models with what uses them, the newest first."""
    if store:
        _list_store(as_json)
        return
    with calling(server, key) as api:
        found = list(api.models(limit=limit, q=q, embed="used_by"))
    if as_json:
        print_json(found)
    elif found:
        _print_table(found)
    else:
        say(f"There is no such model. Add one: {program()} models add FILE")


@app.command()
def add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Model files of this machine.")],
    folder: Annotated[
        str | None,
        typer.Option(help=f"Folder below `models/` for the manifest entry; default: the file's own, or {FOLDER}."),
    ] = None,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Upload model files that the server lacks, and print the entry of each for a workflow's manifest."""
    from runflow.cli.following import display

    for file in files:
        if not file.is_file():
            fail(f"There is no file {file}. Name the model files to add.", WRONG_CALL)
    added = []
    with calling(server, key) as api:
        for file in files:
            try:
                with display() as shown:
                    model, sent = _upload(api, file, shown)
            except KeyboardInterrupt:
                say("Stopped. The same command goes on where it was.")
                raise typer.Exit(INTERRUPTED) from None
            entry = {"path": place_of(file, folder), "sha256": model.sha256, "size_bytes": model.size_bytes}
            added.append({**model, "entry": entry})
            if not as_json:
                console.print("[bold green]Added[/] " if sent else "[bold]The server has it already:[/] ", end="")
                say(f"{file.name}, {size(model.size_bytes)}, SHA-256 {model.sha256}")
                print_json(entry)
    if as_json:
        print_json(added)


@app.command()
def remove(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Its id, SHA-256 (or how it begins), or name.")],
    force: Annotated[bool, typer.Option("--force", help="Even if workflows use it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: Annotated[
        bool, typer.Option("--store", help="From what this machine's workers have fetched, named by its SHA-256.")
    ] = False,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Remove a model with its bytes; runs that need it wait for a worker that has the file of its own."""
    if store:
        _remove_from_store(model)
        return
    with calling(server, key) as api:
        found = _find(api, model)
        users = _users(found)
        if users and not force:
            fail(
                f"{users} uses {found.filename}. Delete these workflows, deploy them with another model, or repeat "
                "this with --force.",
                WRONG_CALL,
            )
        if not yes and not _agreed(
            f"Remove {found.filename}, {size(found.size_bytes)}, SHA-256 {found.sha256[:SHORT]}?"
        ):
            say("Nothing was removed.")
            raise typer.Exit(FAILED)
        api.delete_model(found, force=force)
    if as_json:
        print_json(found)
    else:
        say(
            f"Removed {found.filename}."
            + (f" Runs of {users} wait where no worker has the file of its own." if users else "")
        )


def _list_store(as_json: bool) -> None:
    found = _store().contents()[::-1]
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        rows = [(one.sha256[:SHORT], size(one.size_bytes), _moment(one.used_at)) for one in found]
        print_table(("SHA-256", "size", "used"), rows, whole=("SHA-256", "size", "used"), right=("size",))
    else:
        say(f"Nothing was fetched into {_store().folder} yet.")


def _remove_from_store(named: str) -> None:
    store = _store()
    found = [one for one in store.contents() if len(named) >= _SHORTEST and one.sha256.startswith(named.lower())]
    if len(found) != 1:
        how = "no content" if not found else "more than one content"
        fail(f"{named!r} is {how} of {store.folder}. See `{program()} models list --store`.", WRONG_CALL)
    if not store.remove(found[0].sha256):
        fail(f"A run uses {found[0].sha256[:SHORT]} now. Try again when it has ended.")
    say(f"Removed {found[0].sha256[:SHORT]}, {size(found[0].size_bytes)}. A run that needs it fetches it again.")


def _store() -> "ContentStore":
    from runflow.worker.store.content import ContentStore

    return ContentStore(load_settings().store_dir)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def place_of(file: Path, folder: str | None) -> str:
    """Return a model's path below `models/`: in this folder, else where it lies, if that is below a folder `models`."""
    parts = file.absolute().parts
    below = parts[len(parts) - parts[::-1].index("models") :] if "models" in parts else ()
    if folder is None and len(below) > 1:
        return "/".join(below)
    return f"{(folder or FOLDER).strip('/')}/{file.name}"


def _upload(api: "Runflow", file: Path, shown: "Display") -> "tuple[Model, bool]":
    """Return the model, and whether anything had to be sent."""
    stages: set[str] = set()

    def show(progress: "ModelProgress") -> None:
        stages.add(progress.stage)
        shown.show(f"{STAGES[progress.stage]} {file.name} ({size(progress.total)})", progress.done / progress.total)

    return api.upload_model(file, progress=show), "send" in stages


def _find(api: "Runflow", named: str) -> "Model":
    """Return the one model of this id, SHA-256 or name; ends the command where there is none, or several."""
    quoted = "'" + named.replace("\\", "\\\\").replace("'", "\\'") + "'"
    terms = [f"filename.eq:{quoted}"]
    if re.fullmatch(r"[0-9A-Fa-f]{6,64}", named):
        terms.append(f"sha256.like:'{named.lower()}%'")
    if _is_id(named):
        terms.append(f"id.eq:{quoted}")
    found = list(api.models(q=" OR ".join(terms), limit=5, embed="used_by"))
    if not found:
        fail(f"There is no model {named!r}. `{program()} models list` shows those that there are.", WRONG_CALL)
    if len(found) > 1:
        which = ", ".join(f"{one.filename} {one.sha256[:SHORT]}" for one in found)
        fail(f"{named!r} is more than one model: {which}. Name it by its SHA-256.", WRONG_CALL)
    return found[0]


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        fail(f"{question} There is no terminal to ask on: agree with --yes.", WRONG_CALL)
    return typer.confirm(question, err=True)


def _users(model: "Model") -> str:
    """Return the paths of the workflows that use a model, of many the first."""
    named = [use["path"] for use in model.used_by[:MOST_SHOWN]]
    others = (model.used_by_count or 0) - len(named)
    return ", ".join(named) + (f" and {others} more" if others > 0 else "")


def _print_table(models: "list[Model]") -> None:
    print_table(
        ("name", "size", "SHA-256", "used by", "created"),
        [
            (
                one.filename,
                size(one.size_bytes),
                one.sha256[:SHORT],
                _users(one),
                "" if one.created_at is None else one.created_at.astimezone().strftime("%Y-%m-%d %H:%M"),
            )
            for one in models
        ],
        whole=("size", "SHA-256", "created"),
        right=("size",),
    )

"""`runflow run`: run a workflow, watch it, and have its pictures in a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runflow.cli.calling import Json, Key, Server, calling, print_json, say
from runflow.cli.console import FAILED, INTERRUPTED, WRONG_CALL, console, fail, program

if TYPE_CHECKING:
    from runflow.client import Run, Runflow

app = typer.Typer(add_completion=False, help="Run a workflow and save what it makes; Ctrl-C cancels the run.")


@app.command()
def run(
    workflow: Annotated[str, typer.Argument(metavar="PATH", help="The workflow: owner/slug, as `deploy` prints it.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input; NAME=@FILE uploads a file. Repeatable."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where to save the files; none is replaced.")
    ] = Path(),
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Queue the run, print its id, and wait for nothing.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Stop waiting after so many seconds; the run goes on.", min=0)] = 3600,
    client_ref: Annotated[str | None, typer.Option(help="A reference of your own, kept with the run.")] = None,
    callback_url: Annotated[str | None, typer.Option(help="Gets one POST when the run has ended.")] = None,
    version: Annotated[
        int | None, typer.Option(metavar="N", help="The version to run; default: the current one.", min=1)
    ] = None,
    priority: Annotated[
        int | None, typer.Option(help="-10 to 10, the higher the sooner; needs a key with `runs:prioritize`.")
    ] = None,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Run a workflow and save what it makes; Ctrl-C cancels the run."""
    values = read_inputs(inputs or [])
    given = {"client_ref": client_ref, "callback_url": callback_url, "version": version, "priority": priority}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with calling(server, key) as api:
        try:
            queued = api.submit(workflow, values, **fields)
        except ValueError as error:
            fail(str(error), WRONG_CALL)
        if detach:
            if as_json:
                print_json(queued)
            else:
                say(f"Queued. `{program()} runs tail {queued.id}` follows it.")
                typer.echo(queued.id)
            return
        ended = _watched(api, queued, timeout)
        if ended.status_code != "succeeded":
            if as_json:
                print_json({**ended, "files": []})
            fail(why_not(ended), FAILED)
        _report(ended)  # before anything that may fail: the run is there, and its files as well
        files = api.save_outputs(ended, output)
        if as_json:
            print_json({**ended, "files": [str(path) for path in files]})
            return
        for path in files:
            typer.echo(str(path))


def read_inputs(given: list[str]) -> dict[str, Any]:
    """Return the values by name: texts as they are, which the server reads as the input's type, and paths of files.

    A text that begins with @ is written @@. Ends the command for what cannot be read.
    """
    values: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            fail(f"-i {one!r} is not of the form NAME=VALUE, or NAME=@FILE for a file.", WRONG_CALL)
        if name in values:
            fail(f"-i {name}=… is given twice.", WRONG_CALL)
        if not value.startswith("@") or value.startswith("@@"):
            values[name] = value.removeprefix("@") if value.startswith("@@") else value
            continue
        path = Path(value[1:]).expanduser()
        if not path.is_file():
            fail(f"-i {name}: there is no file {path}. A text that begins with @ is written @@.", WRONG_CALL)
        values[name] = path
    return values


def why_not(run: "Run") -> str:
    """Return why a run did not succeed, and how to look at it."""
    if run.status_code == "cancelled":
        return f"The run {run.id} was cancelled."
    return f"{run.failure_message} More: {program()} runs tail {run.id}"


def _watched(api: "Runflow", queued: "Run", timeout: float) -> "Run":
    """Show the run until its end; Ctrl-C cancels it."""
    from runflow.cli.following import display, follow
    from runflow.client import RunflowError

    try:
        with display() as shown:
            return follow(api, queued, shown, timeout=timeout)
    except RunflowError:  # it goes on all the same
        say(f"Follow the run with: {program()} runs tail {queued.id}")
        raise
    except KeyboardInterrupt:
        say("Cancelling the run …")
    try:
        stopped = api.cancel(queued)
    except KeyboardInterrupt:
        say(f"The run may go on. Cancel it with: {program()} runs cancel {queued.id}")
    else:
        say(f"The run {stopped.id} {'is cancelled' if stopped.status_code == 'cancelled' else 'had ended already'}.")
    raise typer.Exit(INTERRUPTED)


def _report(run: "Run") -> None:
    seconds = f" in {run.duration_ms / 1000:.1f} s" if run.duration_ms is not None else ""
    cost = f", {run.cost.normalize():f} USD" if run.cost else ""
    console.print(f"[bold green]Done[/]{seconds}{cost}. Run {run.id}", soft_wrap=True)

"""`runflow examples`: inputs that a workflow keeps, to test its new versions with."""

from typing import Annotated

import typer

from runflow.cli.calling import Json, Key, Server, calling, print_json, say
from runflow.cli.console import WRONG_CALL, fail, program
from runflow.cli.run import read_inputs
from runflow.cli.tables import print_table

app = typer.Typer(
    add_completion=False,
    help="List, keep and delete the inputs that new versions of a workflow are tested with.",
    no_args_is_help=True,
)

Workflow = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its path owner/slug, or its id.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the example is called.")]


@app.command("list")
def list_examples(workflow: Workflow, server: Server = None, key: Key = None, as_json: Json = False) -> None:
    """List the examples that a workflow keeps, by name."""
    with calling(server, key) as api:
        found = list(api.examples(workflow))
    if as_json:
        print_json(found)
    elif found:
        rows = [
            (one["name"], ", ".join(sorted(one["input"])), "yes" if one["evaluate"] else "no", one["run_id"] or "")
            for one in found
        ]
        print_table(("name", "inputs", "evaluated", "from the run"), rows)
    else:
        say(f"It keeps no examples. Keep one: {program()} examples keep {workflow} NAME -i …")


@app.command()
def keep(
    workflow: Workflow,
    name: Name,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input; NAME=@FILE uploads a file. Repeatable."),
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="ID", help="Keep the input of this run instead.")] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Its pictures are evaluated in a test, and each has to pass.")
    ] = False,
    version: Annotated[
        int | None, typer.Option(metavar="N", help="The version that has to take it; default: the current one.", min=1)
    ] = None,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Keep an example, in the place of the one of its name: inputs as for `run`, or those of a run."""
    if inputs and run is not None:
        fail("Give inputs with -i, or a run with --run: an example has one of them.", WRONG_CALL)
    values = None if run is not None else read_inputs(inputs or [])
    with calling(server, key) as api:
        try:
            kept = api.keep_example(workflow, name, values, run=run, evaluate=evaluate, version=version)
        except ValueError as error:
            fail(str(error), WRONG_CALL)
    if as_json:
        print_json(kept)
    else:
        say(f"Kept. `{program()} deploy --golden` tests new versions with it.")


@app.command()
def delete(workflow: Workflow, name: Name, server: Server = None, key: Key = None, as_json: Json = False) -> None:
    """Delete an example."""
    with calling(server, key) as api:
        api.delete_example(workflow, name)
    if as_json:
        print_json({"deleted": name})
    else:
        say("Deleted.")

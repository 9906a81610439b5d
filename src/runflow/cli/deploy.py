"""`runflow deploy`: an exported workflow becomes an endpoint, or a new version of one."""

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runflow.cli.calling import Json, Key, Server, calling, print_json, say
from runflow.cli.console import FAILED, TOO_LATE, WRONG_CALL, console, fail, program

if TYPE_CHECKING:
    from runflow.client import InputField, Runflow, Workflow
    from runflow.graph import InputSpec

app = typer.Typer(add_completion=False, help="Deploy an exported workflow, or give it a new version.")

MEDIA = ("image", "file")
EXAMPLE_FILE = "@photo.png"
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0
_ENDED = {"failed": "failed", "cancelled": "was cancelled", "superseded": "was superseded"}


@app.command()
def deploy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="API format: Workflow > Export (API) in ComfyUI.")],
    name: Annotated[str | None, typer.Option(help="What people call it; default: from the file's name.")] = None,
    slug: Annotated[str | None, typer.Option(help="Its address; default: from the name.")] = None,
    description: Annotated[str | None, typer.Option(help="What it does.")] = None,
    prebuild: Annotated[
        bool, typer.Option("--prebuild", help="Have a worker prepare it now, so that the first run does not wait.")
    ] = False,
    golden: Annotated[
        bool, typer.Option("--golden", help="Run the workflow's examples first; it serves only if all succeed.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to follow --golden; it goes on all the same.", min=0)] = 3600,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Deploy an exported workflow, or give it a new version."""
    prompt = _read(file)
    address = _slug(slug, name, file)
    given = {"name": name, "description": description, "prebuild": prebuild or None, "golden": golden or None}
    fields = {field: value for field, value in given.items() if value is not None}
    with calling(server, key) as api:
        workflow = api.deploy(address, prompt, **fields)
        url = api.url
        tested = workflow.get("golden_run") if golden else None
        if tested is not None:
            say(f"Testing version {tested['version']} of {workflow.path} with its examples.")
            tested = _followed(api, workflow, tested, time.monotonic() + timeout)
            told = {name: workflow[name] for name in ("can_run", "warnings") if name in workflow}
            workflow = api.get_workflow(workflow.id)
            workflow.update(told)
    if as_json:
        print_json(workflow)
    elif tested is None or tested["status_code"] == "passed":
        _report(workflow, url)
        typer.echo(workflow.path)
    if tested is not None:
        _end_of_test(workflow, tested)


def _followed(api: "Runflow", workflow: "Workflow", tested: dict[str, Any], until: float) -> dict[str, Any]:
    """Return the golden run when it has ended or the time is over."""
    pause, told = _FIRST_PAUSE_SECONDS, ""
    while tested["status_code"] == "running":
        tested = api.golden_run(workflow, tested["id"])
        sentence = "; ".join(f"{one['name']}: {one['status_code'] or 'not dispatched'}" for one in tested["examples"])
        if sentence != told:
            say(f"  {sentence}")
            told, pause = sentence, _FIRST_PAUSE_SECONDS
        if tested["status_code"] != "running" or time.monotonic() >= until:
            break
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
    return tested


def _end_of_test(workflow: "Workflow", tested: dict[str, Any]) -> None:
    """Say how a golden run ended; ends the command where the version does not serve."""
    if tested["status_code"] == "passed":
        return
    if tested["status_code"] == "running":
        say(f"The test goes on; GET …/{workflow.id}/golden-runs/{tested['id']} tells how it went.")
        raise typer.Exit(TOO_LATE)
    for reason in tested["reasons"]:
        say(reason["message"])
    still = f"version {workflow.version} goes on" if workflow.get("is_serving") else "no version serves yet"
    fail(f"Version {tested['version']} does not serve, {still}: the test {_ENDED[tested['status_code']]}.", FAILED)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        fail(f"{file}: {error.strerror or error}. Give the file that Workflow > Export (API) saved.", WRONG_CALL)
    except ValueError as error:
        fail(f"{file} is no JSON ({error}). Give the file that Workflow > Export (API) saved.", WRONG_CALL)


def _slug(slug: str | None, name: str | None, file: Path) -> str:
    from runflow.graph.slug import SlugError, is_slug, slugify

    if slug is not None:
        if not is_slug(slug):
            fail(f"--slug {slug!r}: a slug has 1 to 100 characters of a-z, 0-9, _ and -.", WRONG_CALL)
        return slug
    stem = file.stem.removesuffix("_api").removesuffix("-api").replace(".", " ")
    try:
        return slugify(stem if name is None else name)
    except SlugError as error:
        fail(f"{error} Or choose an address with --slug.", WRONG_CALL)


def _report(workflow: "Workflow", url: str) -> None:
    if workflow.can_run is False:
        console.print("[bold yellow]Deployed, but no worker can run it yet:[/] ", end="")
        say(f"{workflow.path}, version {workflow.version}.")
    else:
        console.print(f"[bold green]Deployed[/] {workflow.path}, version {workflow.version}.")
    for one in workflow.inputs:
        say(f"  input   {one.name} ({_described(one)})")
    for output in workflow.outputs:
        say(f"  output  {output.get('name')} ({output.get('variable_type_code')})")
    for warning in workflow.warnings:
        console.print("[yellow]Warning:[/] ", end="")
        say(f"{warning.get('message')} {warning.get('next_step') or ''}".rstrip())
    say("Run it:")
    say(f"  {program()} run {workflow.path}{''.join(f' -i {_argument(one)}' for one in _needed(workflow))}")
    say("Or from anywhere:")
    say(_curl(workflow, url))


def _described(one: "InputField") -> str:
    parts = [one.variable_type_code]
    if one.is_required:
        parts.append("required")
    elif one.default_value is not None:
        parts.append(f"default {json.dumps(one.default_value, ensure_ascii=False)}")
    return ", ".join((*parts, *filter(None, (_limits(one),))))


def _limits(one: "InputField") -> str:
    spec = _spec(one)
    return "" if spec is None else spec.limits.in_words()


def _needed(workflow: "Workflow") -> "list[InputField]":
    return [one for one in workflow.inputs if one.is_required]


def _argument(one: "InputField") -> str:
    value = _example(one)
    if one.variable_type_code.lower() in MEDIA:
        value = EXAMPLE_FILE
    return shlex.quote(f"{one.name}={value if isinstance(value, str) else json.dumps(value)}")


def _example(one: "InputField") -> Any:
    from runflow.graph import example_value

    spec = _spec(one)
    return "…" if spec is None else example_value(spec)


def _spec(one: "InputField") -> "InputSpec | None":
    from runflow.graph import GraphError, InputSpec

    try:
        return InputSpec.from_dict(one)
    except (GraphError, KeyError, TypeError, ValueError):  # of a newer server
        return None


def _curl(workflow: "Workflow", url: str) -> str:
    """Return the call for a shell. The key stays in its variable: what is printed may be kept."""
    from runflow.graph import Interface, curl_command

    known = Interface(tuple(spec for one in workflow.inputs if (spec := _spec(one)) is not None))
    return curl_command(f"{url}/v1/comfyui-workflows/{workflow.path}/runs", known)

"""`runflow prebuild`: a machine gets ready for a workflow before a run needs it."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runflow.cli.calling import Json, Key, Server, calling, print_json, say
from runflow.cli.console import FAILED, TOO_LATE, program

if TYPE_CHECKING:
    from runflow.client import Runflow

app = typer.Typer(add_completion=False, help="Prepare a machine for a workflow before its first run, and follow that.")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
_WAITS = "waiting_for_approval"
_OPEN = ("queued", "building", _WAITS)


@app.command()
def prebuild(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its path owner/slug, or its id.")],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it until it has ended.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to follow it; it goes on all the same.", min=0)] = 3600,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Prepare a machine for a workflow before its first run, and follow that."""
    with calling(server, key) as api:
        found = api.get_workflow(workflow)
        record: dict[str, Any] = api.prebuild(found)
        waits_for: list[dict[str, Any]] = []
        if wait:
            record, waits_for = _follow(api, found, record, time.monotonic() + timeout)
    if as_json:
        print_json(record)
    state = record["state_code"]
    if state == "ready":
        say(f"{found.path}, version {found.version}: ready on the worker {record['worker']}.")
    elif state == "failed":
        say(f"It failed: {record['message']}")
        raise typer.Exit(FAILED)
    elif state == _WAITS:
        say("It waits for the operator's approval:")
        for one in waits_for:
            say(f"  runflow sources approve {one['origin']}@{one['commit']}")
    elif wait:
        say("It has not ended yet, and goes on.")
        raise typer.Exit(TOO_LATE)
    else:
        say(f"Asked for. `{program()} prebuild {found.path}` follows it.")


def _follow(
    api: "Runflow", workflow: Any, record: dict[str, Any], until: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the pre-build when it has ended or waits for a person, and the sources that wait for approval."""
    pause, told, waits_for = FIRST_PAUSE_SECONDS, "", list[dict[str, Any]]()
    while record["state_code"] in _OPEN:
        runtime = api.runtime(workflow)
        record = runtime.get("prebuild") or record
        waits_for = runtime["unapproved_sources"]
        sentence = _sentence(record, runtime)
        if sentence != told:
            say(sentence)
            told, pause = sentence, FIRST_PAUSE_SECONDS
        if record["state_code"] not in ("queued", "building") or time.monotonic() >= until:
            break
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
    return record, waits_for


def _sentence(record: dict[str, Any], runtime: dict[str, Any]) -> str:
    if record["state_code"] == "building":
        return f"The worker {record['worker']}: {record['message'] or 'begins.'}"
    if record["state_code"] == "queued":
        return record["message"] or runtime["reason"] or "It waits for a worker that has no run."
    return record["message"] or f"It is {record['state_code'].replace('_', ' ')}."

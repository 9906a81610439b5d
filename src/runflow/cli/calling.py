"""What the commands that call a server share: their options, the client, and how its errors end a command."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runflow.cli.console import FAILED, INTERRUPTED, NO_KEY, NO_SERVER, TOO_LATE, WRONG_CALL, console, fail

if TYPE_CHECKING:
    from runflow.client import Runflow, RunflowError

Server = Annotated[
    str | None,
    typer.Option("--server", envvar="RUNFLOW_URL", metavar="URL", help="The server; default: the saved login's."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="RUNFLOW_API_KEY",
        metavar="KEY",
        show_envvar=True,
        help="An API key; default: the saved login's. Others on this machine can see it here; prefer the variable.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@contextmanager
def calling(server: str | None, key: str | None) -> Iterator["Runflow"]:
    """Give a client for a command; what goes wrong ends the command with a sentence and its exit code."""
    # Here, so that a command's help does not wait for what only a call needs.
    from runflow.client import Runflow, RunflowError

    try:
        with Runflow(server, key) as api:
            yield api
    except RunflowError as error:
        fail(sentence(error), exit_code(error))
    except KeyboardInterrupt:
        say("Stopped. What the server had taken already goes on.")
        raise typer.Exit(INTERRUPTED) from None


def exit_code(error: "RunflowError") -> int:
    """Return the exit code of what went wrong."""
    from runflow import client

    kinds: list[tuple[int, tuple[type[Exception], ...]]] = [
        (NO_KEY, (client.NotConfigured, client.Unauthorized, client.PermissionDenied, client.BudgetUsedUp)),
        (WRONG_CALL, (client.InvalidRequest, client.NotFound, client.Conflict)),
        (NO_SERVER, (client.ApiError, client.RunflowUnreachable)),
        (TOO_LATE, (client.RunTimeout,)),
    ]
    return next((code for code, classes in kinds if isinstance(error, classes)), FAILED)


def sentence(error: "RunflowError") -> str:
    """Return what to say of it; a fault of the server is found in its log by the request's id."""
    from runflow.client import ApiError, ServerFault, Unauthorized

    if not isinstance(error, ApiError):
        return str(error)
    if isinstance(error, Unauthorized):
        return f"{error.message} Log in anew with `runflow login`, or correct RUNFLOW_API_KEY."
    found = f" Request id: {error.request_id}" if isinstance(error, ServerFault) and error.request_id else ""
    return f"{error.message} ({error.code}){found}"


def print_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    import orjson

    typer.echo(orjson.dumps(value).decode())


def say(text: str) -> None:
    """Tell people something on stderr, as it is."""
    console.print(text, markup=False, soft_wrap=True)

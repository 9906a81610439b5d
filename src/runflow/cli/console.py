"""What commands say to people, on stderr, so that stdout stays for results; amounts of money as options.

What may go wrong in any command is said in one sentence with the next step instead of a traceback.
"""

import os
import shlex
import shutil
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

from runflow import extras

console = Console(stderr=True, highlight=False)
"""For people."""


FAILED, WRONG_CALL, NO_SERVER, NO_KEY, TOO_LATE, INTERRUPTED = 1, 2, 3, 4, 124, 130
"""Exit codes (docs/cli.md, "Exit codes"); the last two are those of `timeout` and of shells."""


def program() -> str:
    """Return how this command was called, for commands that people copy: `runflow` alone where a shell finds it."""
    called = sys.argv[0]
    if Path(called).name != "runflow" or shutil.which("runflow") is not None:
        return "runflow"
    return shlex.quote(called)


def say(message: str) -> None:
    """Print a sentence; where stderr holds JSON lines it is one of them."""
    if not _logged("info", message):
        console.print(message, markup=False)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print what failed and what to do next, and end with this exit code."""
    if not _logged("error", message):
        console.print("[bold red]Error:[/] ", end="")
        console.print(message, markup=False, soft_wrap=True)
    raise typer.Exit(code)


def _logged(level: str, message: str) -> bool:
    """Log a sentence where this command writes JSON lines; tell whether it does. Few commands load what it needs."""
    logs = sys.modules.get("runflow.logs")
    if logs is None or not logs.writes_json():
        return False
    import structlog

    getattr(structlog.get_logger(), level)(message)
    return True


EXPECTED = (
    "runflow.embedded_postgres.errors:EmbeddedPostgresError",
    "runflow.db.migrate:SchemaTooNew",
    "runflow.db.migrate:MigrationFailed",
    "runflow.db.exclusive:ServersRun",
    "runflow.db.roles:OtherKeyInForce",
    "runflow.master_key:MasterKeyError",
    "runflow.outgoing:InvalidNetworks",
    "runflow.home_lock:HomeServed",
    "runflow.supervisor:AddressInUse",
    "runflow.tls:CertificateUnusable",
    "runflow.errors:RunflowError",
    "runflow.client.errors:RunflowError",
)
"""Errors whose text is made for people. Named, not imported: a command loads only what it uses."""

DATABASE = ("psycopg:", "psycopg.errors:")


def explain(error: Exception) -> None:
    """End the command with the error's own sentence, if it is one that is expected; else let it be raised."""
    names = [f"{kind.__module__}:{kind.__name__}" for kind in type(error).__mro__]
    if any(name in EXPECTED or _reexported(name) in EXPECTED for name in names):
        fail(str(error))
    if any(name.startswith(DATABASE) for name in names):
        first = str(error).strip().splitlines()[0]
        where = "RUNFLOW_DATABASE_URL" if os.environ.get("RUNFLOW_DATABASE_URL") else "the embedded PostgreSQL"
        fail(f"The database does not answer as it should ({where}): {first}. Is it running, and is the user allowed?")
    if isinstance(error, ModuleNotFoundError) and (said := extras.explained(error)):
        fail(said)
    if isinstance(error, OSError):
        fail(f"{error.strerror or error} ({error.filename}). Check that this user may use the path.")


def _reexported(name: str) -> str:
    """Errors of a package are also known by the package's own name."""
    module, _, kind = name.partition(":")
    return f"{module.rpartition('.')[0]}:{kind}"


DIGITS = 8
"""Most digits before the point."""


def money(text: str) -> Decimal:
    """Read USD with up to six decimals. Raises what Typer shows as a wrong value."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise typer.BadParameter(f"{text!r} is no amount. Write USD such as 100 or 0.000444.") from None
    if not amount.is_finite() or amount < 0 or amount >= 10**DIGITS or amount != round(amount, 6):
        raise typer.BadParameter(f"{text!r}: an amount has no sign, at most {DIGITS} digits and six decimals.")
    return amount

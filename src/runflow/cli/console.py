"""What commands say to people: on stderr, so that stdout stays for results."""

from typing import NoReturn

import typer
from rich.console import Console

console = Console(stderr=True, highlight=False)
"""For people."""


def fail(message: str) -> NoReturn:
    """Print what failed and what to do next, and end with exit code 1."""
    console.print("[bold red]Error:[/] ", end="")
    console.print(message, markup=False)
    raise typer.Exit(1)

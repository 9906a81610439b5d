"""`runflow logout`: forget a saved API key."""

from typing import Annotated

import typer

from runflow.cli.calling import Json, print_json, say
from runflow.cli.console import FAILED, fail

app = typer.Typer(add_completion=False, help="Forget a saved API key.")


@app.command()
def logout(
    server: Annotated[
        str | None, typer.Argument(metavar="URL", help="Whose key; default: that of the last login.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Forget a saved API key."""
    from runflow.client import NotConfigured, credentials

    try:
        url = credentials.forget(server)
    except NotConfigured as error:
        fail(str(error))
    if url is None:
        fail("No such login is saved here.", FAILED)
    if as_json:
        print_json({"url": url})
        return
    say(f"Forgot the key for {url}. It works until it is revoked: runflow keys revoke KEY_ID")

"""`runflow login`: a server and an API key, kept for the commands and programs of this user."""

import getpass
import socket
import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from runflow.cli.calling import Json, calling, print_json, say
from runflow.cli.console import FAILED, WRONG_CALL, console, fail
from runflow.cli.settings import load_settings

app = typer.Typer(add_completion=False, help="Save a server and an API key, for the commands that call it.")

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@app.command()
def login(
    server: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            envvar="RUNFLOW_URL",
            help="The server, whose key is asked for; default: that of this machine and user, for which one is made.",
        ),
    ] = None,
    with_key: Annotated[
        bool, typer.Option("--with-key", help="Ask for the key, or read it from stdin, also here.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Save a server and an API key, for the commands that call it."""
    from runflow.client import NotConfigured, credentials

    try:
        home_url = None if with_key else _server_of_this_home(server)
        if home_url is None and server is None:
            fail(
                "No server runs on this machine's home. Start one with `runflow up`, or name yours: "
                "runflow login https://runflow.example.com",
                WRONG_CALL,
            )
        url = credentials.normalized(home_url or server or "")
        key = _make_key() if home_url is not None else _ask_for_key(url)
        credentials.find(url, key)  # what is no key is said before it is sent
    except NotConfigured as error:
        fail(str(error), WRONG_CALL)
    with calling(url, key) as api:
        me = api.request("GET", "/v1/auth/me")
        path = credentials.save(credentials.Credentials(url, key))
    organization = (me.get("organization") or {}).get("slug")
    if as_json:
        print_json({"url": url, "organization": organization, "file": str(path)})
        return
    console.print(f"[bold green]Logged in[/] to {url}, organization [bold]{organization}[/].")
    say(f"The key is in {path}, which only you can read. `runflow logout` forgets it.")
    if urlsplit(url).scheme == "http" and urlsplit(url).hostname not in LOOPBACK:
        say("Beware: over http:// everybody on the way can read the key. Serve https (docs/operations.md).")


def _server_of_this_home(named: str | None) -> str | None:
    """Return the address of this home's server, if it runs, is the one that is named, and a key can be made here."""
    from runflow import extras
    from runflow.client.credentials import normalized
    from runflow.demo.server import running

    settings = load_settings()
    if extras.lacking("server") is not None:
        return None
    address = running(settings.home_dir, settings.ca_file)
    if address is None or (named is not None and normalized(named) != normalized(address)):
        return None
    return address


def _make_key() -> str:
    """Make an API key as the operator does, named after who asks, so that it can be told and revoked."""
    from runflow.cli.keys import make_key

    return str(make_key(f"login of {getpass.getuser()} on {socket.gethostname()}")["key"])


def _ask_for_key(url: str) -> str:
    """Return the key, typed unseen or from a pipe; as an argument everybody on the machine could see it."""
    given = getpass.getpass(f"API key for {url}: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not given.strip():
        fail("No key was given. Make one on the server: runflow keys create --name laptop", FAILED)
    return given.strip()

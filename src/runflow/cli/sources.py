"""`runflow sources`: what code of node packs and ComfyUI may be built."""

import re
import sys
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from runflow.cli.calling import Json, Key, Server, calling, print_json, say
from runflow.cli.console import FAILED, WRONG_CALL, fail, program
from runflow.cli.tables import print_table
from runflow.protocol.origins import canonical, is_commit

if TYPE_CHECKING:
    from runflow.client import Runflow, Source

app = typer.Typer(
    add_completion=False,
    help="List the code that workflows need, and approve or revoke it for building.",
    no_args_is_help=True,
)

SHORT_COMMIT = 12
SHORT_ID = 13
"""So much of an id says when it was made, to the millisecond."""
MOST_SHOWN = 3
_STATES = ("waiting", "approved", "revoked")

Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="SOURCE…", help="Ids, how they begin, or ORIGIN@COMMIT.", show_default=False),
]


@app.command("list")
def list_sources(
    state: Annotated[
        str | None, typer.Option(help=f"Only those that are {', '.join(_STATES)}; default: all.", show_default=False)
    ] = None,
    q: Annotated[str | None, typer.Option("--query", "-q", help="A filter, as lists of the API take it.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.", min=1)] = 50,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List sources with who deployed them and which workflows need them, the newest first."""
    if state is not None and state not in _STATES:
        fail(f"There is no state {state!r}. The states are: {', '.join(_STATES)}.", WRONG_CALL)
    terms = [*([f"state_code:{state}"] if state else []), *([f"({q})"] if q else [])]
    with calling(server, key) as api:
        found = list(api.sources(limit=limit, q=" AND ".join(terms) or None))
    if as_json:
        print_json(found)
    elif found:
        _print_table(found)
    else:
        say("There is no such source. They come with workflows whose manifest names node packs or a ComfyUI.")


@app.command()
def approve(
    sources: Targets = None,
    all_waiting: Annotated[bool, typer.Option("--all-waiting", help="All that wait, after showing them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Let workers build these commits of these origins: code of others, which runs on your machines."""
    if bool(sources) == all_waiting:
        fail(f"Name the sources, or say --all-waiting. `{program()} sources list` shows them.", WRONG_CALL)
    with calling(server, key) as api:
        if all_waiting:
            found = list(api.sources(q="state_code:waiting"))
            if not found:
                say("Nothing waits for approval.")
            elif not yes:
                _print_table(found)
                if not _agreed(f"Approve these {len(found)} sources?" if len(found) > 1 else "Approve this source?"):
                    say("Nothing was approved.")
                    raise typer.Exit(FAILED)
        else:
            found = _found(api, sources or [])
        _tell([api.approve_source(one) for one in found], "Approved", as_json=as_json)


@app.command()
def revoke(sources: Targets = None, server: Server = None, key: Key = None, as_json: Json = False) -> None:
    """Let nothing be built of these sources any more, or decline what waits."""
    if not sources:
        fail(f"Name the sources. `{program()} sources list` shows them.", WRONG_CALL)
    with calling(server, key) as api:
        _tell([api.revoke_source(one) for one in _found(api, sources)], "Revoked", as_json=as_json)


def _found(api: "Runflow", named: list[str]) -> "list[Source]":
    """Return the one source of each name; ends the command where there is none, or several, before any is changed."""
    found = {one["id"]: one for one in (_find(api, name) for name in named)}
    return list(found.values())


def _find(api: "Runflow", named: str) -> "Source":
    origin, mark, commit = named.rpartition("@")
    digits = named.replace("-", "").lower()
    if mark and is_commit(commit.lower()):
        address = canonical(origin)
        if address is None:
            fail(f"{origin!r} is no address of a repository that anything is built of.", WRONG_CALL)
        quoted = address.replace("\\", "\\\\").replace("'", "\\'")
        found = list(api.sources(limit=2, q=f"origin.eq:'{quoted}' AND commit.eq:'{commit.lower()}'"))
    elif re.fullmatch(r"[0-9a-f]{4,32}", digits):
        first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
        found = list(api.sources(limit=5, q=f"id >= '{first}' AND id <= '{last}'"))
    else:
        fail(
            f"{named!r} is no id, no beginning of one, and no ORIGIN@COMMIT with all 40 digits of the commit.",
            WRONG_CALL,
        )
    if not found:
        fail(
            f"There is no source {named!r} that waits or was decided on. `{program()} sources list` shows those that "
            "there are; RUNFLOW_APPROVED_SOURCES approves what no workflow has named yet.",
            WRONG_CALL,
        )
    if len(found) > 1:
        which = ", ".join(f"{one.id} ({one.origin})" for one in found)
        fail(f"{named!r} is more than one source: {which}. Write more of the id.", WRONG_CALL)
    return found[0]


def _tell(changed: "list[Source]", what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(changed)
        return
    for one in changed:
        say(f"{what} {_names(one)} at {one.commit[:SHORT_COMMIT]} from {_plain(one.origin)}.")


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        fail(f"{question} There is no terminal to ask on: agree with --yes.", WRONG_CALL)
    return typer.confirm(question, err=True)


def _names(source: "Source") -> str:
    """Return what versions call a source, of many names the first: strangers chose them."""
    named = [_plain(name) for name in source.names[:MOST_SHOWN]]
    return ", ".join(named) + (" …" if len(source.names) > MOST_SHOWN else "") or "a source"


def _needed_by(source: "Source") -> str:
    named = [use["path"] for use in source.workflows[:MOST_SHOWN]]
    others = source.workflows_count - len(named)
    return ", ".join(named) + (f" and {others} more" if others > 0 else "")


def _deployed_by(source: "Source") -> str:
    by = source.get("deployed_by")
    return "" if not by else f"{by['organization']}: {by['email'] or by['key_name'] or by['key_id']}"


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _print_table(sources: "list[Source]") -> None:
    length = SHORT_ID
    while len({one.id[:length] for one in sources}) < len(sources):
        length += 1
    print_table(
        ("id", "state", "name", "commit", "origin", "packages", "needed by", "deployed by", "seen"),
        [
            (
                one.id[:length],
                one.state_code,
                _names(one),
                one.commit[:SHORT_COMMIT],
                one.origin,
                "" if one.packages_count is None else str(one.packages_count),
                _needed_by(one),
                _deployed_by(one),
                "" if one.first_seen_at is None else one.first_seen_at.astimezone().strftime("%Y-%m-%d %H:%M"),
            )
            for one in sources
        ],
        whole=("id", "state", "commit", "packages", "seen"),
        right=("packages",),
    )

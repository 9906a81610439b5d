"""This server's own files as inputs: the `url` of an asset or of an output may be sent back as it was given out.

It becomes a reference to an asset of the caller. So it needs no way over the network, by whatever scheme and name the
server is reached, and outlives its URL while the run waits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.assets import service as assets
from runflow.graph.media import MAX_URL_LENGTH
from runflow.ids import new_id
from runflow.runs import references
from runflow.runs.given import Given, Place
from runflow.services import Services
from runflow.storage.signing import DownloadGrant
from runflow.web.auth import Principal

MAX_URLS = 500
"""Most different URLs of this server in one request: each is looked up, and copied if it is no asset of the caller."""
_ASSETS = "assets"


@dataclass(slots=True)
class OwnFiles:
    """The inputs with references in the place of URLs, the assets still to be made, and what is wrong by place."""

    given: list[Given]
    copies: dict[UUID, DownloadGrant] = field(default_factory=dict)
    problems: dict[Place, dict[str, Any]] = field(default_factory=dict)


async def found(services: Services, caller: Principal, names: set[str], given: Sequence[Given]) -> OwnFiles:
    """Look for URLs of this server in the image and file inputs called `names`; nothing is stored yet.

    Raises `ValidationFailed` where there are more than `MAX_URLS` of them.
    """
    result = OwnFiles(list(given))
    grants: dict[str, DownloadGrant] = {}
    for place, url in _urls(names, given):
        try:
            grant = services.storage.signer.own_grant(url)
        except errors.UrlExpired:
            result.problems[place] = _refused(place, "is a URL of this server that has expired")
            continue
        if grant is None:
            continue
        if url not in grants and len(grants) == MAX_URLS:
            message = f"The request holds over {MAX_URLS} URLs of this server. Send the runs in several requests."
            problem = {"loc": list(place), "msg": message, "type": "too_many_files"}
            raise errors.ValidationFailed(message, errors=[problem])
        grants[url] = grant
    if not grants and not result.problems:
        return result
    named = await _references(services, caller, grants, result)
    for place, url in _urls(names, given):
        if url in grants and url not in named:
            result.problems[place] = _refused(place, "is a URL of a file that is not stored any more, or is too large")
    result.given = [
        replace(one, values={name: _named(value, named, names, name) for name, value in one.values.items()})
        for one in given
    ]
    return result


async def store(services: Services, caller: Principal, files: OwnFiles) -> None:
    """Make the assets that the inputs refer to by now. Raises `LimitReached`."""
    for asset_id, grant in files.copies.items():
        await assets.store_copy(services, caller, asset_id, grant)


def _urls(names: set[str], given: Sequence[Given]) -> Iterator[tuple[Place, str]]:
    for one in given:
        for name, value in one.values.items():
            if (
                name in names
                and isinstance(value, str)
                and len(value) <= MAX_URL_LENGTH
                and value[:4].lower() == "http"
            ):
                yield (*one.place, name), value


async def _references(
    services: Services, caller: Principal, grants: dict[str, DownloadGrant], result: OwnFiles
) -> dict[str, str]:
    """Return the reference by URL: to the asset that it is of, where the caller has it, else to a copy to be made."""
    ids = {url: asset for url, grant in grants.items() if (asset := _asset_of(grant.key)) is not None}
    async with services.db.tenant(caller.org_id) as connection:
        mine = await assets.resolve(connection, set(ids.values()))
    made: dict[str, UUID] = {}
    named: dict[str, str] = {}
    for url, grant in grants.items():
        asset = ids.get(url)
        if asset not in mine:
            stored = await services.storage.glance(grant.key)
            if stored is None or stored.size_bytes > services.settings.max_upload_bytes:
                continue
            asset = made.setdefault(grant.key, new_id())
            result.copies[asset] = grant
        named[url] = f"{references.PREFIX}{asset}"
    return named


def _asset_of(key: str) -> UUID | None:
    folder, _, rest = key.partition("/")
    return references.asset_id(f"{references.PREFIX}{rest.partition('/')[0]}") if folder == _ASSETS else None


def _named(value: Any, named: dict[str, str], names: set[str], name: str) -> Any:
    return named.get(value, value) if name in names and isinstance(value, str) else value


def _refused(place: Place, why: str) -> dict[str, Any]:
    message = f'Input "{place[-1]}" {why}. Read the record again for a fresh URL, or send runflow://assets/{{uuid}}.'
    return {"loc": list(place), "msg": message, "type": "invalid_reference"}

"""Files as inputs: references, `data:` URIs, and this server's own files.

Of the last: the `url` of an asset or of an output may be sent back as it was given out.

It becomes a reference to an asset of the caller. So it needs no way over the network, by whatever scheme and name the
server is reached, and outlives its URL while the run waits.
"""

import asyncio
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.assets import service as assets
from runflow.assets.images.check import check_image
from runflow.assets.inline import parse_data_uri
from runflow.assets.references import PREFIX, asset_id
from runflow.graph.media import MAX_URL_LENGTH
from runflow.ids import new_id
from runflow.storage.signed_urls import DownloadGrant
from runflow.web.auth import Principal
from runflow.web.services import Services

Loc = tuple[str | int, ...]
"""Where a value stands: keys and indexes, from the outside in."""


@dataclass(frozen=True, slots=True)
class Given:
    """The `input` of one run as it was sent, and where it stands in the request."""

    values: dict[str, Any]
    place: Loc = ("body", "input")


MAX_URLS = 500
"""Most different URLs of this server in one request: each is looked up, and copied if it is no asset of the caller."""
_ASSETS = "assets"


@dataclass(slots=True)
class OwnFiles:
    """The inputs with references in the place of URLs, the assets still to be made, and what is wrong by place."""

    given: list[Given]
    copies: dict[UUID, DownloadGrant] = field(default_factory=dict)
    problems: dict[Loc, dict[str, Any]] = field(default_factory=dict)


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


async def store_own_files(services: Services, caller: Principal, files: OwnFiles) -> None:
    """Make the assets that the inputs refer to by now. Raises `LimitReached`."""
    for copy, grant in files.copies.items():
        await assets.store_copy(services, caller, copy, grant)


def _urls(names: set[str], given: Sequence[Given]) -> Iterator[tuple[Loc, str]]:
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
    async with services.db.tenant(caller.org_id) as transaction:
        mine = await assets.resolve(transaction, set(ids.values()))
    made: dict[str, UUID] = {}
    named: dict[str, str] = {}
    for url, grant in grants.items():
        asset = ids.get(url)
        if asset not in mine:
            stored = await services.storage.stat(grant.key)
            if stored is None or stored.size_bytes > services.settings.max_upload_bytes:
                continue
            asset = made.setdefault(grant.key, new_id())
            result.copies[asset] = grant
        named[url] = f"{PREFIX}{asset}"
    return named


def _asset_of(key: str) -> UUID | None:
    folder, _, rest = key.partition("/")
    return asset_id(f"{PREFIX}{rest.partition('/')[0]}") if folder == _ASSETS else None


def _named(value: Any, named: dict[str, str], names: set[str], name: str) -> Any:
    return named.get(value, value) if name in names and isinstance(value, str) else value


def _refused(place: Loc, why: str) -> dict[str, Any]:
    message = f'Input "{place[-1]}" {why}. Read the record again for a fresh URL, or send runflow://assets/{{uuid}}.'
    return {"loc": list(place), "msg": message, "type": "invalid_reference"}


MAX_FILES = 100
"""Most inline files of one request: each is written to storage before the answer."""


@dataclass(frozen=True, slots=True)
class InlineFile:
    """A `data:` URI and where in the request it stands."""

    place: Loc
    uri: str

    @property
    def name(self) -> str:
        """The nearest key: what the asset will be called."""
        return next((part for part in reversed(self.place) if isinstance(part, str)), "file")


def inline_files(value: Any, place: Loc = ()) -> Iterator[InlineFile]:
    """Yield every `data:` URI in a JSON value (not nested deeper than requests may be)."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from inline_files(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from inline_files(item, (*place, index))
    elif isinstance(value, str) and _is_file(value):
        yield InlineFile(place, value)


def _is_file(text: str) -> bool:
    # Prose may well begin with "data:"; what is meant as a file says how it is encoded.
    return text[:5].lower() == "data:" and ";base64," in text[:200].lower()


async def check(files: list[InlineFile]) -> list[dict[str, Any]]:
    """Return what is wrong with these files, as entries of `errors`; nothing is stored."""
    if len(files) > MAX_FILES:
        message = f"The request holds {len(files)} data URIs; {MAX_FILES} are allowed. Upload the files first."
        return [{"loc": list(files[MAX_FILES].place), "msg": message, "type": "too_many_files"}]
    return [problem for problem in [await asyncio.to_thread(_problem, file) for file in files] if problem is not None]


def _problem(file: InlineFile) -> dict[str, Any] | None:
    try:
        mime_type, content = parse_data_uri(file.uri)
        check_image(io.BytesIO(content), mime_type)
    except errors.ValidationFailed as error:
        return {"loc": list(file.place), "msg": f'"{file.name}": {error.message}', "type": "invalid_reference"}
    return None


async def store_inline_files(services: Services, caller: Principal, files: list[InlineFile]) -> dict[str, str]:
    """Make an asset of each of these checked files, equal ones once; return the reference by URI."""
    stored: dict[str, str] = {}
    for file in files:
        if file.uri not in stored:
            asset = await assets.store_data_uri(services, caller, file.uri, file.name)
            stored[file.uri] = f"{PREFIX}{asset}"
    return stored


def with_references(value: Any, stored: Mapping[str, str]) -> Any:
    """Return a copy of a JSON value in which stored `data:` URIs are references."""
    if not stored:
        return value
    if isinstance(value, dict):
        return {key: with_references(item, stored) for key, item in value.items()}
    if isinstance(value, list):
        return [with_references(item, stored) for item in value]
    return stored.get(value, value) if isinstance(value, str) else value

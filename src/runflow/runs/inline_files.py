"""Files that come inside a request: `data:` URIs of image and file inputs, and anywhere in `metadata`, become assets.

Those of text inputs do not: nodes may want them as they are (docs/api/runs.md, "Values").
"""

import asyncio
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runflow import errors
from runflow.assets import service as assets
from runflow.assets.data_uri import parse_data_uri
from runflow.assets.images import check_image
from runflow.runs import references
from runflow.runs.given import Place
from runflow.services import Services
from runflow.web.auth import Principal

MAX_FILES = 100
"""Most inline files of one request: each is written to storage before the answer."""


@dataclass(frozen=True, slots=True)
class InlineFile:
    """A `data:` URI and where in the request it stands."""

    place: Place
    uri: str

    @property
    def name(self) -> str:
        """The nearest key: what the asset will be called."""
        return next((part for part in reversed(self.place) if isinstance(part, str)), "file")


def inline_files(value: Any, place: Place = ()) -> Iterator[InlineFile]:
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


async def store(services: Services, caller: Principal, files: list[InlineFile]) -> dict[str, str]:
    """Make an asset of each of these checked files, equal ones once; return the reference by URI."""
    stored: dict[str, str] = {}
    for file in files:
        if file.uri not in stored:
            asset = await assets.store_data_uri(services, caller, file.uri, file.name)
            stored[file.uri] = f"{references.PREFIX}{asset}"
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

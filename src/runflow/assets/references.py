"""References to assets, `runflow://assets/{uuid}`, in JSON values: found, replaced, made URLs (docs/api/assets.md)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

from runflow.assets import service as assets
from runflow.web.auth import Principal
from runflow.web.services import Services

PREFIX = "runflow://assets/"


def asset_id(value: object) -> UUID | None:
    """Return the asset that a `runflow://assets/{uuid}` reference names, None when the value is no such reference."""
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return None
    try:
        return UUID(value[len(PREFIX) :])
    except ValueError:
        return None


def found_in(value: Any) -> Iterator[tuple[str, UUID]]:
    """Yield every asset reference in a JSON value, as (reference, asset id)."""
    if isinstance(value, dict):
        for item in value.values():
            yield from found_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from found_in(item)
    elif (found := asset_id(value)) is not None:
        yield value, found


def replaced(value: Any, replace: Callable[[UUID], str | None]) -> Any:
    """Return a copy of a JSON value in which references became what `replace` gave; None leaves one as it is."""
    if isinstance(value, dict):
        return {key: replaced(item, replace) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, replace) for item in value]
    found = asset_id(value)
    return value if found is None else replace(found) or value


async def signed_references(
    services: Services, caller: Principal, documents: Iterable[Any], base_url: str
) -> dict[UUID, str]:
    """Return a URL for each asset that these JSON values refer to, as far as the caller's organization has it."""
    wanted = {asset for document in documents for _, asset in found_in(document)}
    if not wanted:
        return {}
    async with services.db.tenant(caller.org_id) as transaction:
        found = await assets.resolve(transaction, wanted)
    return {
        asset: services.storage.download_url(
            base_url,
            file.object_key,
            filename=file.filename,
            content_type=file.mime_type,
            seconds=services.settings.output_url_seconds,
        )
        for asset, file in found.items()
    }

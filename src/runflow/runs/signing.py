"""Fresh URLs for the assets that inputs and metadata refer to: signed anew at every read."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from runflow.assets import service as assets
from runflow.runs import references
from runflow.services import Services
from runflow.web.auth import Principal


async def signed_references(
    services: Services, caller: Principal, documents: Iterable[Any], base_url: str
) -> dict[UUID, str]:
    """Return a URL for each asset that these JSON values refer to, as far as the caller's organization has it."""
    wanted = {asset for document in documents for _, asset in references.found_in(document)}
    if not wanted:
        return {}
    async with services.db.tenant(caller.org_id) as connection:
        found = await assets.resolve(connection, wanted)
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

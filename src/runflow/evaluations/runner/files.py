"""Brings the images of an evaluation into its folder: from storage, or over the guarded client."""

from pathlib import Path
from typing import Any

from runflow import errors
from runflow.assets import service as assets
from runflow.assets.references import asset_id
from runflow.evaluations.limits import EvaluationFailed, FailureCode
from runflow.evaluations.runner.queries import Claim
from runflow.outgoing import GuardedClient, HttpStatusError, OutgoingError, TooLarge
from runflow.web.services import Services

FETCH_SECONDS = 60.0
IMAGE = "image"


class Files:
    """Fetches images for one server process."""

    def __init__(self, services: Services, client: GuardedClient) -> None:
        """Fetch with these parts."""
        self._services = services
        self._client = client

    async def image(self, held: Claim, folder: Path) -> str:
        """Fetch the image to judge and return its file's name in the folder. Raises `EvaluationFailed`."""
        if held.image_object_key is not None:
            await self._from_storage(held.image_object_key, folder / IMAGE)
        else:
            assert held.generated_image_url is not None
            await self._fetch(held, held.generated_image_url, folder / IMAGE)
        return IMAGE

    async def references(self, held: Claim, folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
        """Fetch the reference images. What is gone is left out, and told in the notes that are returned as well.

        Raises `EvaluationFailed` for what another attempt may get.
        """
        found: list[dict[str, Any]] = []
        notes: list[str] = []
        for number, reference in enumerate(held.reference_images):
            name = f"reference-{number}"
            try:
                await self._fetch(held, reference["url"], folder / name)
            except EvaluationFailed as failure:
                if not failure.is_final:
                    raise
                notes.append(f"Reference image {number} was left out: {failure.message}")
                continue
            found.append({"file": name, "kind": reference.get("kind"), "description": reference.get("description")})
        return found, notes

    async def _fetch(self, held: Claim, url: str, target: Path) -> None:
        asset = asset_id(url)
        if asset is None:
            await self._from_url(url, target)
            return
        async with self._services.db.tenant(held.org_id) as transaction:
            file = (await assets.resolve(transaction, {asset})).get(asset)
        if file is None:
            message = f"The asset {url} is not there any more. Upload the image again."
            raise EvaluationFailed(FailureCode.IMAGE_NOT_FOUND, message, is_final=True)
        await self._from_storage(file.object_key, target)

    async def _from_storage(self, key: str, target: Path) -> None:
        limit = self._services.settings.max_upload_bytes
        size = 0
        try:
            with target.open("wb") as file:
                async for chunk in await self._services.storage.open(key):
                    size += len(chunk)
                    if size > limit:
                        raise _too_large(limit)
                    file.write(chunk)
        except errors.NotFound:
            message = "The image is not in storage any more: outputs are removed after the operator's retention time."
            raise EvaluationFailed(FailureCode.IMAGE_NOT_FOUND, message, is_final=True) from None
        except errors.Unavailable as error:
            raise EvaluationFailed(FailureCode.IMAGE_FETCH_FAILED, error.message, is_final=False) from error

    async def _from_url(self, url: str, target: Path) -> None:
        limit = self._services.settings.max_upload_bytes
        try:
            await self._client.fetch(url, limit=limit, timeout=FETCH_SECONDS, destination=target)
        except TooLarge:
            raise _too_large(limit) from None
        except HttpStatusError as error:
            is_final = error.status < 500 and error.status not in (408, 425, 429)
            raise _unreachable(str(error), is_final=is_final) from error
        except OutgoingError as error:
            raise _unreachable(str(error), is_final=False) from error


def _too_large(limit: int) -> EvaluationFailed:
    message = f"The image has more than {limit} bytes. Send a smaller one; the operator can raise the limit."
    return EvaluationFailed(FailureCode.IMAGE_TOO_LARGE, message, is_final=True)


def _unreachable(why: str, *, is_final: bool) -> EvaluationFailed:
    message = f"The image could not be fetched: {why} Check its URL, or upload it as an asset."
    return EvaluationFailed(FailureCode.IMAGE_FETCH_FAILED, message, is_final=is_final)

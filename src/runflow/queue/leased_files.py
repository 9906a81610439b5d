"""Where a worker fetches what a lease names: files of inputs, resources and models, by signed URLs."""

from dataclasses import replace
from uuid import UUID

from runflow.assets import references
from runflow.assets import service as assets
from runflow.models import service as uploads
from runflow.models.cached import has_address
from runflow.models.service import ModelFile
from runflow.protocol.cached_files import LeasedCachedFile
from runflow.protocol.leases import LeasedFile, LeasedModel, LeasedResource
from runflow.queue.leases import Claimed
from runflow.web.services import Services
from runflow.workers.abilities import EngineAbilities
from runflow.workflows import resources
from runflow.workflows.versions.payload import VersionPayload

URL_SECONDS = 3600
"""How long signed URLs for inputs and outputs of a lease live."""


class LeasedFiles:
    """Signs them, each for its own file only."""

    def __init__(self, services: Services) -> None:
        """Sign with this process's storage."""
        self._services = services

    async def files(
        self, claimed: Claimed, payload: VersionPayload, base_url: str
    ) -> tuple[dict[str, LeasedFile], list[LeasedResource]]:
        """Return the file inputs by reference, the workflow's own defaults among them, and the version's files."""
        given = dict(references.found_in(claimed.input))
        defaults = dict(references.found_in([spec.get("default_value") for spec in payload.interface["inputs"]]))
        placed = [one for one in resources.declared(payload.resources) if one.asset_id is not None]
        mine = await self._assets(claimed.org_id, set(given.values()))
        theirs = await self._assets(
            payload.org_id, {*defaults.values(), *(one.asset_id for one in placed if one.asset_id)}
        )
        files = {ref: self._file(base_url, theirs[asset]) for ref, asset in defaults.items() if asset in theirs}
        files |= {ref: self._file(base_url, mine[asset]) for ref, asset in given.items() if asset in mine}
        files_of_version = [
            LeasedResource(
                path=one.path,
                url=self._url(base_url, file),
                size_bytes=file.size_bytes,
                sha256=one.sha256 or file.sha256,
            )
            for one in placed
            if one.asset_id is not None and (file := theirs.get(one.asset_id)) is not None
        ]
        return files, files_of_version

    async def models(
        self, payload: VersionPayload, abilities: EngineAbilities | None, base_url: str
    ) -> tuple[list[LeasedModel], list[LeasedCachedFile]]:
        """Return the models of a version, and its files of libraries' caches, with where each is fetched.

        What the version's organization has uploaded comes from here; the rest is only for who fetches addresses.
        """
        takes_all = abilities is not None and abilities.fetches_addresses
        declared, cached = payload.declared_models, payload.cached_files if takes_all else ()
        contents = {one.sha256 for one in declared if one.sha256 is not None} | {one.sha256 for one in cached}
        held: dict[str, ModelFile] = {}
        if contents:
            async with self._services.db.tenant(payload.org_id) as transaction:
                held = await uploads.held(transaction, contents)
        found = []
        for one in declared:
            file = None if one.sha256 is None else held.get(one.sha256)
            if file is not None:
                found.append(
                    LeasedModel(
                        path=one.path,
                        url=self._model_url(base_url, file),
                        size_bytes=file.size_bytes,
                        sha256=file.sha256,
                    )
                )
            elif takes_all:
                found.append(
                    LeasedModel(
                        path=one.path, url=one.url, size_bytes=one.size_bytes, sha256=one.sha256, is_upload=False
                    )
                )
        return found, [
            self._cached(one, held.get(one.sha256), base_url)
            for one in cached
            if has_address(one) or one.sha256 in held
        ]

    def _cached(self, one: LeasedCachedFile, file: ModelFile | None, base_url: str) -> LeasedCachedFile:
        if file is None:
            return one
        return replace(one, url=self._model_url(base_url, file), size_bytes=file.size_bytes, is_upload=True)

    def _model_url(self, base_url: str, file: ModelFile) -> str:
        return self._services.storage.download_url(
            base_url,
            file.object_key,
            filename=file.filename,
            content_type="application/octet-stream",
            seconds=URL_SECONDS,
        )

    async def _assets(self, org_id: UUID, ids: set[UUID]) -> dict[UUID, assets.AssetFile]:
        if not ids:
            return {}
        async with self._services.db.tenant(org_id) as transaction:
            return await assets.resolve(transaction, ids, with_deleted=True)

    def _file(self, base_url: str, file: assets.AssetFile) -> LeasedFile:
        return LeasedFile(
            url=self._url(base_url, file),
            filename=file.filename,
            mime_type=file.mime_type,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
        )

    def _url(self, base_url: str, file: assets.AssetFile) -> str:
        return self._services.storage.download_url(
            base_url, file.object_key, filename=file.filename, content_type=file.mime_type, seconds=URL_SECONDS
        )

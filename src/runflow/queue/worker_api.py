"""What the server does for workers: registration, leases, signed uploads (docs/worker-api.md)."""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import orjson
import structlog

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.ids import new_id
from runflow.protocol import leases
from runflow.protocol.completions import Completion, CompletionAnswer, Next
from runflow.protocol.leases import (
    Expected,
    Lease,
    LeaseAnswer,
    LeasedModel,
    LeasedVersion,
    LeaseRequest,
    Limits,
)
from runflow.protocol.outputs import ExpectedUpload, OutputName, Upload, Uploads, UploadsAnswer
from runflow.protocol.prebuilds import PrebuildAnswer, PrebuildReport, PrebuildReported, PrebuildRequest
from runflow.protocol.workers import PROTOCOL_VERSION, LeaseCall, Registered, Registration, WorkerRequest
from runflow.queue import completion
from runflow.queue import queries as lease_queries
from runflow.queue.attempt_files import output_name, output_prefix
from runflow.queue.board import Board
from runflow.queue.choose import Warm, WorkerOffer
from runflow.queue.eligibility import Eligibility, EligibleLanes
from runflow.queue.known_workers import KnownWorker, KnownWorkers
from runflow.queue.leased_files import URL_SECONDS, LeasedFiles
from runflow.queue.leases import OFFER_SECONDS, OPEN, Asker, Claimed, claim_now, next_claim
from runflow.queue.prebuilds import PrebuildAsker, Prebuilds
from runflow.queue.sweeper import Sweeper
from runflow.web.services import Services
from runflow.workers import ability_queries, queries
from runflow.workers import service as workers
from runflow.workers.abilities import abilities_key, named_lists, told_lists
from runflow.workers.gpus import queries as gpus
from runflow.workers.queries import RegisteredWorker
from runflow.workflows.runtime import builds
from runflow.workflows.runtime.known import Known
from runflow.workflows.runtime.large_models import LargeModels, large_models
from runflow.workflows.versions.payload import VersionPayload, remembered_version, untitled_prompt, version_payload

log = structlog.get_logger()

POLL_SECONDS = 25
SEEN_EVERY_SECONDS = 5.0
MAX_SUPERSEDED = 10_000
"""Processes that lost their worker's name are remembered, so that each is counted once; the oldest are forgotten."""
MAX_INLINE_BYTES = 4 * 1024 * 1024
"""Outputs of so many bytes in all come with the completion; larger ones are streamed to their own URLs."""


class WorkerApi:
    """The worker side of one server process."""

    def __init__(self, services: Services, sweeper: Sweeper) -> None:
        """Serve with these parts."""
        self._services = services
        self._sweeper = sweeper
        self._board = Board(services.db, services.hub, services.settings.max_running)
        self._leased = LeasedFiles(services)
        self._prebuilds = Prebuilds(services, self._leased)
        self._known = KnownWorkers()
        self._eligibility = services.part(Eligibility)
        self._runtimes = services.part(Known)
        self._superseded: OrderedDict[UUID, None] = OrderedDict()
        services.hub.on(workers.TOPIC, self._told)

    def _told(self, subject: str) -> None:
        """Hear that a worker has registered, or was drained or let work again: its poll looks again, or ends."""
        worker, _, state = subject.partition(" ")
        if not worker:
            self._known.doubt_all()
            return
        if state:
            self._known.changed(UUID(worker), state)
        self._board.backlog.wake(UUID(worker))

    async def register(self, body: Registration, token_id: UUID) -> Registered:
        """Take a worker in, or note its new state. A new instance ends the leases of the old one at once.

        Raises `Conflict` when the name belongs to another token, `WorkerSuperseded` when another process took it.
        """
        require_protocol(body)
        told, abilities_hash = told_lists(body.lists), None
        if body.abilities is not None:
            abilities_hash = abilities_key(body.abilities)
        named = {} if body.abilities is None else named_lists(body.abilities)
        async with self._services.db.system() as transaction:
            known = await ability_queries.keep(transaction, named.values(), told)
            await ability_queries.end_refusals(
                transaction,
                name=body.name,
                instance=body.instance,
                abilities_hash=abilities_hash,
                sandbox=body.sandbox,
            )
            await gpus.meet(transaction, code=body.gpu.code, name=body.gpu.name, memory_gb=body.gpu.memory_gb)
            worker_id = await queries.register(
                transaction,
                {
                    "id": new_id(),
                    "name": body.name,
                    "instance": body.instance,
                    "gpu_code": body.gpu.code,
                    "gpu_name": body.gpu.name,
                    "memory_gb": body.gpu.memory_gb,
                    "labels": body.labels,
                    "engine": body.engine,
                    "status_code": body.status,
                    "status_detail": body.status_detail,
                    "token_id": token_id,
                    "abilities": body.abilities,
                    "abilities_hash": abilities_hash,
                    "sandbox": body.sandbox,
                },
            )
            if worker_id is None and not await self._note_takeover(transaction, body.instance, name=body.name):
                raise errors.Conflict(await _taken(transaction, body.name))
        if worker_id is None:
            raise errors.WorkerSuperseded
        async with self._services.db.system(durable=False) as transaction:
            row = await queries.by_id(transaction, worker_id)
            if row is not None and row.instance == body.instance:
                remembered = await self._remembered(transaction, worker_id, row, token_id)
                remembered.noted_at = time.monotonic()
                self._known.put(worker_id, remembered)
        self._board.dismiss(worker_id)
        if row is not None:
            # Its lanes are others now. Nobody else's are, and none of them has changed.
            self._services.hub.publish(workers.TOPIC, workers.hint(worker_id, row.state))
        await self._sweeper.end_older_lives(worker_id, body.instance)
        return Registered(
            worker_id=worker_id,
            lease_seconds=self._services.settings.lease_seconds,
            offer_seconds=int(OFFER_SECONDS),
            poll_seconds=POLL_SECONDS,
            several_organizations=(await self._runtimes.read_installation()).several,
            wants=[name for name, one in named.items() if one not in known],
        )

    async def lease(self, body: LeaseRequest, token_id: UUID, base_url: str) -> LeaseAnswer:
        """Wait for work for this worker.

        Raises `Conflict` when it has to register first, with this token, `WorkerSuperseded` when another process has
        its name.
        """
        require_protocol(body)
        worker = await self._seen(body, token_id)
        if not worker.ready:
            raise errors.Conflict("This worker is not ready. Register it again with the status `ready` first.")
        await self._require_same_view(body.several_organizations)
        claimed = await next_claim(
            self._services, self._board, self._asker(body, body, worker), wait_seconds=body.wait_seconds
        )
        if claimed is None:
            return LeaseAnswer()
        return LeaseAnswer(lease=await self._document(claimed, worker, body.expected, base_url))

    async def _require_same_view(self, told: bool | None) -> None:
        """Raise `Conflict` where a worker was told otherwise of the organizations: its engines' network hangs on it."""
        several = (await self._runtimes.read_installation()).several
        if told is not None and told != several:
            raise errors.Conflict("The number of organizations has changed: register this worker again.")

    def _asker(self, body: LeaseCall | LeaseRequest, room: LeaseRequest | Next, worker: KnownWorker) -> Asker:
        memory_gb = worker.candidate.memory_gb
        offer = WorkerOffer(worker.gpu_code, warm_engines(room.warm), memory_gb=memory_gb)
        lanes = self._lanes(body.worker_id, worker, room.several_organizations)
        return Asker(
            body.worker_id,
            body.instance,
            offer,
            lanes,
            idle=room.idle,
            is_current=lambda: self._known.is_current(body.worker_id, body.instance),
            without=frozenset(room.without),
        )

    async def complete(
        self, lease: UUID, body: Completion, contents: Sequence[bytes], token_id: UUID, base_url: str
    ) -> CompletionAnswer:
        """End an attempt, and hand out the next one if the worker has room and a run waits.

        `contents` are the outputs that have no key yet, in their order. Raises what `completion.complete` raises.
        """
        require_protocol(body)
        answer = await completion.complete(self._services, lease, body, contents, token_id)
        self._board.completed(body.worker_id, lease)
        if body.next is None:
            return answer
        return replace(answer, lease=await self._next(body, body.next, token_id, base_url))

    async def _next(self, body: Completion, room: Next, token_id: UUID, base_url: str) -> Lease | None:
        """Return the next run for a worker that has just completed one; the completion stands, whatever comes here."""
        try:
            worker = await self._seen(body, token_id)
            if not worker.ready:
                return None
            await self._require_same_view(room.several_organizations)
            claimed = await claim_now(self._services, self._board, self._asker(body, room, worker))
            if claimed is None:
                return None
            return await self._document(claimed, worker, room.expected, base_url)
        except Exception:
            log.exception("no next run with this completion", worker_id=str(body.worker_id))
            return None

    async def prebuild(self, body: PrebuildRequest, token_id: UUID, base_url: str) -> PrebuildAnswer:
        """Wait for something that this worker may prepare. Raises what `lease` raises."""
        require_protocol(body)
        worker = await self._worker(body, token_id)
        if not worker.ready:
            raise errors.Conflict("This worker is not ready. Register it again with the status `ready` first.")
        asker = PrebuildAsker(body.worker_id, body.instance, worker.candidate.abilities)
        order = await self._prebuilds.next(asker, base_url, wait_seconds=body.wait_seconds)
        return PrebuildAnswer(prebuild=order)

    async def report_prebuild(self, lease: UUID, body: PrebuildReport, token_id: UUID) -> PrebuildReported:
        """Note how far a pre-build is. Raises `LeaseNotFound`, and what `lease` raises of an unknown worker."""
        require_protocol(body)
        await self._worker(body, token_id)
        return await self._prebuilds.report(lease, body)

    async def uploads(self, lease: UUID, body: Uploads, token_id: UUID, base_url: str) -> UploadsAnswer:
        """Sign upload URLs below the attempt's own prefix.

        Raises `LeaseNotFound`, `LeaseLost`, `ValidationFailed`, and `UrlExpired` where the run has ended meanwhile.
        """
        require_protocol(body)
        storage, allowed = self._services.storage, self._services.settings.max_output_bytes
        limit = storage.upload_limit(allowed)
        for file in body.files:
            if file.size_bytes is not None and file.size_bytes > limit:
                raise errors.ValidationFailed(
                    f"The output {file.filename!r} has {file.size_bytes} bytes; the limit is {limit} "
                    f"({storage.limit_source(allowed, 'RUNFLOW_MAX_OUTPUT_BYTES')})."
                )
        async with self._services.db.system(durable=False) as transaction:
            held = await lease_queries.uploading(
                transaction, lease=lease, worker=body.worker_id, instance=body.instance, token=token_id
            )
        if held is None:
            raise errors.LeaseNotFound
        if held.lease_status not in OPEN:
            raise errors.LeaseLost
        if held.run_ended:
            # Not a lost lease: the attempt is billed by what the worker completes it with.
            raise errors.UrlExpired(
                "The run has ended, e.g. because it was cancelled: no output of it is stored any more. Complete the "
                "lease with `cancelled`."
            )
        prefix = output_prefix(held.run_id, lease)
        return UploadsAnswer(
            uploads=[Upload(**self._upload(prefix, file, file.size_bytes, base_url)) for file in body.files]
        )

    @property
    def _inline_bytes(self) -> int:
        """How many bytes of outputs a completion may bring: what is small, and on its way to this disk anyway."""
        most = min(MAX_INLINE_BYTES, self._services.settings.max_body_bytes // 2)
        return most if self._services.storage.takes_content else 0

    def _upload(self, prefix: str, file: OutputName, size_bytes: int | None, base_url: str) -> dict[str, Any]:
        key = prefix + output_name(file)
        url, headers = self._services.storage.new_object_url(
            base_url,
            key,
            content_type=file.content_type,
            size_bytes=size_bytes,
            max_bytes=self._services.storage.upload_limit(self._services.settings.max_output_bytes),
            seconds=URL_SECONDS,
        )
        return {
            "ordinal": file.ordinal,
            "object_key": key,
            "url": url,
            "headers": headers,
        }

    async def _worker(self, speaks: LeaseCall | LeaseRequest, token_id: UUID) -> KnownWorker:
        worker_id, instance = speaks.worker_id, speaks.instance
        known = self._known.get(worker_id)
        if known is None or known.instance != instance or known.token_id != token_id:
            async with self._services.db.system() as transaction:
                row = await queries.by_id(transaction, worker_id)
                is_former = row is not None and row.token_id == token_id and row.instance != instance
                superseded = is_former and await self._note_takeover(transaction, instance, worker_id=worker_id)
                if row is not None:
                    known = await self._remembered(transaction, worker_id, row, token_id)
            if superseded:
                raise errors.WorkerSuperseded
            if row is None or known is None or row.instance != instance or row.token_id != token_id:
                raise errors.Conflict("The server does not know this worker (any more): register it again.")
            self._known.put(worker_id, known)
        return known

    async def _remembered(
        self, transaction: Transaction, worker_id: UUID, row: RegisteredWorker, token_id: UUID
    ) -> KnownWorker:
        candidate = await self._eligibility.candidate(transaction, worker_id, row)
        ready = row.status_code == "ready"
        return KnownWorker(row.instance, token_id, row.gpu_code, ready, candidate, row.state)

    def _lanes(self, worker_id: UUID, worker: KnownWorker, told_several: bool | None) -> EligibleLanes:
        """Return the lanes that a worker may serve, by what it has registered at each moment of its wait."""
        return EligibleLanes(
            self._eligibility, lambda: (self._known.get(worker_id) or worker).candidate, told_several=told_several
        )

    async def _seen(self, speaks: LeaseCall | LeaseRequest, token_id: UUID) -> KnownWorker:
        """Return the worker that speaks, and note now and then that it is alive."""
        worker = await self._worker(speaks, token_id)
        if time.monotonic() - worker.noted_at <= SEEN_EVERY_SECONDS:
            return worker
        worker.noted_at = time.monotonic()
        async with self._services.db.system(durable=False) as transaction:
            state = await queries.seen(transaction, speaks.worker_id, worker.instance, ready=worker.ready)
        abilities = worker.candidate.abilities
        if state == worker.state and (abilities is None or abilities.complete):
            return worker
        # It has registered with another process of the server, or has told more since.
        self._known.drop(speaks.worker_id)
        worker = await self._worker(speaks, token_id)
        worker.noted_at = time.monotonic()
        return worker

    async def _note_takeover(self, transaction: Transaction, instance: UUID, **whose: Any) -> bool:
        """Tell whether this process had the name before another one took it; count it when it says so first."""
        name = await queries.note_takeover(transaction, instance, count=int(instance not in self._superseded), **whose)
        if name is None:
            return False
        if instance not in self._superseded:
            log.warning("two processes have the name of one worker: give each its own", worker=name)
            self._superseded[instance] = None
            if len(self._superseded) > MAX_SUPERSEDED:
                self._superseded.popitem(last=False)
        return True

    async def _document(
        self, claimed: Claimed, worker: KnownWorker, expected: Sequence[Expected], base_url: str
    ) -> Lease:
        payload = remembered_version(claimed.version_id)
        if payload is None:
            async with self._services.db.system(durable=False) as transaction:
                payload = await version_payload(transaction, claimed.version_id)
        prompt = payload.workflow_json
        if payload.org_id != claimed.org_id:
            prompt = await asyncio.to_thread(untitled_prompt, payload)
        files, placed = await self._leased.files(claimed, payload, base_url)
        placeable, cached = await self._leased.models(payload, worker.candidate.abilities, base_url)
        models_key = claimed.models_key
        if models_key is None:
            large = _large_models(payload, placeable)
            await self._board.keep_models(claimed.lane_id, large)
            models_key = large.key
        build = await builds.order(self._services, claimed.version_id, worker.candidate.abilities)
        prefix = output_prefix(claimed.run_id, claimed.lease_id)
        return Lease(
            id=claimed.lease_id,
            run_id=claimed.run_id,
            attempt_number=claimed.attempt_number,
            expires_at=claimed.expires_at,
            domain=str(claimed.org_id),
            version=LeasedVersion(
                id=claimed.version_id,
                number=payload.number,
                fingerprint=payload.fingerprint,
                models_key=models_key,
                build=build,
                # JSON text that was never parsed: it is passed on as it is.
                prompt=cast(dict[str, Any], prompt),
                interface=payload.interface,
                manifest={
                    "environment": payload.environment,
                    "custom_nodes": payload.custom_nodes,
                    "models": payload.models,
                },
            ),
            input=claimed.input,
            tracebacks=claimed.org_id == payload.org_id,
            files=files,
            resources=placed,
            models=placeable,
            cached=cached,
            uploads=[
                ExpectedUpload(
                    **self._upload(prefix, file, None, base_url),
                    filename=file.filename,
                    content_type=file.content_type,
                )
                for one in expected
                if one.version_id == claimed.version_id
                for file in one.files
            ],
            limits=Limits(
                timeout_seconds=claimed.timeout_seconds,
                max_output_bytes=self._services.storage.upload_limit(self._services.settings.max_output_bytes),
                inline_bytes=self._inline_bytes,
            ),
        )


def warm_engines(told: Sequence[leases.Warm]) -> list[Warm]:
    """Return what a worker says that its engines have loaded, but for those of domains that are none."""
    found = []
    for one in told:
        with contextlib.suppress(ValueError):
            whose = None if one.domain is None else UUID(one.domain)
            found.append(Warm(whose, one.fingerprint, one.models, one.executed_seconds))
    return found


def _large_models(payload: VersionPayload, uploaded: Sequence[LeasedModel]) -> LargeModels:
    models, prompt = orjson.loads(orjson.dumps(payload.models)), orjson.loads(orjson.dumps(payload.workflow_json))
    sizes = {one.sha256: one.size_bytes for one in uploaded if one.is_upload and one.sha256 and one.size_bytes}
    return large_models(models, prompt, sizes, payload.cached_files)


def require_protocol(body: WorkerRequest) -> None:
    """Raise `UpgradeRequired` for another protocol version."""
    if body.protocol_version != PROTOCOL_VERSION:
        raise errors.UpgradeRequired(
            f"This server speaks worker protocol {PROTOCOL_VERSION}, the worker {body.protocol_version}. "
            "Install the same Runflow release on both."
        )


async def _taken(transaction: Transaction, name: str) -> str:
    owner = await queries.token_of(transaction, name)
    return (
        f"The worker name {name!r} belongs to another worker token ({owner}). Start this worker under another name "
        f"(`runflow worker --name …`); or, if it is the same machine with a new token, let the operator revoke the old "
        f"one: `runflow keys revoke-worker {owner}`."
    )

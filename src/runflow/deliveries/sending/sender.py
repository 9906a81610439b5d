"""Emptying the outbox.

An attempt is claimed in one transaction, made outside of any, and recorded in another that is guarded by the claim
(`db/claim_loop.py`). A process that dies in between leaves the claim to lapse; then the message is sent again, with
the same id.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from runflow.db.claim_loop import Claimed, ClaimLoop, recorded
from runflow.db.database import Database
from runflow.db.notifications import Hub
from runflow.db.transaction import Transaction
from runflow.deliveries.sending import queries
from runflow.deliveries.sending.outcome import FailureReason, Outcome, outcome_of_answer, outcome_of_error
from runflow.deliveries.sending.queries import Claim
from runflow.deliveries.sending.recording import record
from runflow.deliveries.sending.schedule import DELAYS, KEEP_BYTES, TIMEOUT_SECONDS, Decision, GiveUp, Retry, decide
from runflow.deliveries.sending.slots import Candidate, Slots
from runflow.deliveries.signing import SigningSecret, Unsendable, delivery_headers
from runflow.outgoing import GuardedClient, OutgoingError
from runflow.outgoing.urls import host_of

log = structlog.get_logger()

TOPIC = "delivery"
"""The hint after a delivery was inserted."""
RECORDING_CONNECTIONS = 3
"""However many attempts end at once, they leave most of the pool to the queue."""


class Outbox(Protocol):
    """What the sender needs of the server's `Services`."""

    db: Database
    hub: Hub


class Signing(Protocol):
    """Finds what signs messages, in the transaction that claims them."""

    async def __call__(
        self, transaction: Transaction, claims: Sequence[Claim]
    ) -> Mapping[UUID, Sequence[SigningSecret] | Unsendable]:
        """Return, by the id of the delivery, its secrets, the one of `Runflow-Signature` first."""


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds. `margin`: what a claim lasts beyond an attempt's time limit, to record it; `poll`: how often the

    sender looks without being told; `grace`: how long it lets attempts end when it is stopped.
    """

    timeout: float = TIMEOUT_SECONDS
    margin: float = 15.0
    poll: float = 15.0
    grace: float = 3.0
    delays: tuple[float, ...] = DELAYS


@dataclass(frozen=True, slots=True)
class Sending:
    """A message that is claimed and has a slot, and what signs it."""

    claim: Claim
    slot: Candidate
    signers: Sequence[SigningSecret] | Unsendable


class DeliverySender:
    """Sends what is due, in one server process. Any number of processes may run one."""

    def __init__(
        self,
        services: Outbox,
        client: GuardedClient,
        signing: Signing,
        *,
        timing: Timing | None = None,
        slots: Slots | None = None,
        beat: Callable[[], None] | None = None,
    ) -> None:
        """Prepare; `run` does the work, and calls `beat` whenever it has looked into the outbox."""
        self._db = services.db
        self._client = client
        self._signing = signing
        self._timing = timing or Timing()
        self._slots = slots or Slots()
        self._recording = asyncio.Semaphore(RECORDING_CONNECTIONS)
        self._loop: ClaimLoop[Sending] = ClaimLoop(
            self,
            services.hub,
            TOPIC,
            name="the outbox",
            most=self._slots.total,
            poll=self._timing.poll,
            grace=self._timing.grace,
            beat=beat,
        )

    async def run(self) -> None:
        """Send until cancelled; then take nothing new, let attempts end for a moment and give the rest back."""
        await self._loop.run()

    async def claim(self, places: int) -> Claimed[Sending]:
        """Claim what is due and has a slot, of which there are never more than `places`."""
        slots, many = self._slots, 2 * self._slots.total
        full_orgs, full_hosts = slots.full_orgs, slots.full_hosts
        async with self._db.system(durable=False) as transaction:
            due = await queries.due(
                transaction, full_orgs=full_orgs, full_hosts=full_hosts, each=slots.per_host, many=many
            )
            candidates = due.candidates
            chosen = {found.id: found for found in slots.choose(candidates)}
            seconds = self._timing.timeout + self._timing.margin
            claims = await queries.claim(transaction, list(chosen), seconds) if chosen else []
            signers = await self._signing(transaction, claims) if claims else {}
        more = bool(full_orgs or full_hosts or len(candidates) >= min(slots.per_host, many)) or (
            len(chosen) < len(candidates)
        )
        for held in claims:
            slots.take(chosen[held.id])
        return Claimed([Sending(held, chosen[held.id], signers[held.id]) for held in claims], more, due.seconds_to_next)

    def name_of(self, held: Sending) -> str:
        """Return the id of a delivery."""
        return str(held.claim.id)

    async def work(self, held: Sending) -> float | None:
        """Make an attempt and record it. Returns in how many seconds the next one follows."""
        try:
            decision = await self._deliver(held.claim, held.signers, held.slot.host)
        finally:
            self._slots.give_back(held.slot)
        return decision.after_seconds if isinstance(decision, Retry) else None

    async def release(self, held: Sequence[Sending]) -> None:
        """Give claims back."""
        async with self._db.system() as transaction:
            await queries.release(transaction, [sending.claim for sending in held])

    async def _deliver(self, held: Claim, signers: Sequence[SigningSecret] | Unsendable, host: str) -> Decision | None:
        if isinstance(signers, Unsendable):
            reason = FailureReason.EXHAUSTED if signers.is_final else FailureReason.CONNECTION
            outcome = Outcome(0, reason=reason, message=signers.message, is_final=signers.is_final)
            signers = ()
        else:
            outcome = await self._attempt(held, signers)
            self._slots.note(host, hangs=outcome.reason is FailureReason.TIMEOUT)
        decision = decide(
            outcome,
            held.attempt_number,
            held.max_attempts,
            random.random(),  # noqa: S311 - spreads load, hides nothing
            self._timing.delays,
        )
        return await self._record(held, outcome, decision, [secret.id for secret in signers])

    async def _attempt(self, held: Claim, secrets: Sequence[SigningSecret]) -> Outcome:
        started = time.monotonic()
        try:
            headers = delivery_headers(held.id, held.payload, secrets, int(time.time()), held.request_id)
            answer = await self._client.post(held.target_url, held.payload, headers, self._timing.timeout, KEEP_BYTES)
        except OutgoingError as error:
            return outcome_of_error(error, _ms_since(started))
        except Exception:  # a defect of ours must not keep a message in the outbox for ever
            log.exception("delivery attempt failed unexpectedly", delivery_id=str(held.id))
            message = "Runflow could not send this message; the server's log tells why."
            return Outcome(_ms_since(started), reason=FailureReason.CONNECTION, message=message)
        return outcome_of_answer(host_of(held.target_url), answer)

    async def _record(
        self, held: Claim, outcome: Outcome, decision: Decision, secret_ids: Sequence[UUID]
    ) -> Decision | None:
        """Record an attempt, for as long as the claim lasts also over failures of the database."""

        async def write() -> Decision | None:
            async with self._recording, self._db.system() as transaction:
                return await record(transaction, held, outcome, decision, secret_ids)

        about = {"delivery_id": str(held.id)}
        failing = "cannot record a delivery attempt"
        made = await recorded(write, seconds=self._timing.margin, failing=failing, about=about)
        _tell(held, outcome, made)
        return made


def _tell(held: Claim, outcome: Outcome, decision: Decision | None) -> None:
    about = {
        "delivery_id": str(held.id),
        "attempt": held.attempt_number,
        "host": host_of(held.target_url),
        "ms": outcome.elapsed_ms,
    }
    if decision is None:
        log.warning("delivery attempt came too late to be recorded", **about)
    elif isinstance(decision, GiveUp):
        log.warning("delivery given up", reason=decision.reason.value, detail=decision.detail, **about)
    elif isinstance(decision, Retry):
        log.info("delivery failed, will be tried again", reason=decision.reason.value, detail=decision.detail, **about)
    else:
        log.debug("delivered", **about)


def _ms_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)

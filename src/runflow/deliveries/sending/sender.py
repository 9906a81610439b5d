"""The engine that empties the outbox.

An attempt is claimed in one transaction, made outside of any, and recorded in another that is guarded by the claim. A
process that dies in between leaves the claim to lapse; then the message is sent again, with the same id. Nothing waits
in memory: only what is being sent is claimed.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

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
DATABASE_PAUSE_SECONDS = 1.0
GATHER_SECONDS = 0.01
"""How long slots that get free are gathered before the engine looks what is due: looking costs as much for one."""
RECORDING_CONNECTIONS = 3
"""However many attempts end at once, they leave most of the pool to the queue."""


class Outbox(Protocol):
    """What the engine needs of the server's `Services`."""

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

    engine looks without being told; `grace`: how long it lets attempts end when it is stopped.
    """

    timeout: float = TIMEOUT_SECONDS
    margin: float = 15.0
    poll: float = 15.0
    grace: float = 3.0
    delays: tuple[float, ...] = DELAYS


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
    ) -> None:
        """Prepare; `run` does the work."""
        self._db = services.db
        self._hub = services.hub
        self._client = client
        self._signing = signing
        self._timing = timing or Timing()
        self._slots = slots or Slots()
        self._sending: dict[asyncio.Task[None], Claim] = {}
        self._recording = asyncio.Semaphore(RECORDING_CONNECTIONS)
        self._look = asyncio.Event()
        # Whether more may be due than had a slot: then a slot that gets free is a reason to look.
        self._left_behind = False
        self._gathering: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Send until cancelled; then take nothing new, let attempts end for a moment and give the rest back."""
        try:
            with self._hub.waiting(TOPIC) as self._look:
                while True:
                    self._look.clear()
                    pause = await self._send_due()
                    # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the hint.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._look.wait()
        finally:
            await self._stop()

    async def _send_due(self) -> float:
        """Start every attempt that is due and has a slot. Returns for how long there will be nothing to do."""
        try:
            while self._slots.free:
                claims, to_next = await self._claim()
                if not (claims and self._left_behind):
                    return self._timing.poll if to_next is None else min(to_next, self._timing.poll)
        except Exception as error:  # the outbox outlives any failure of the database
            log.warning("cannot read the outbox, trying again", error=_first_line(error))
            return DATABASE_PAUSE_SECONDS
        self._left_behind = True
        return self._timing.poll

    async def _claim(self) -> tuple[list[Claim], float | None]:
        """Claim and start what fits. Returns the claims, and the seconds until more will be due (None: nothing)."""
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
        self._left_behind = bool(full_orgs or full_hosts or len(candidates) >= min(slots.per_host, many)) or (
            len(chosen) < len(candidates)
        )
        for held in claims:
            self._start(held, chosen[held.id], signers[held.id])
        return claims, due.seconds_to_next

    def _start(self, held: Claim, candidate: Candidate, signers: Sequence[SigningSecret] | Unsendable) -> None:
        self._slots.take(candidate)
        task = asyncio.create_task(self._deliver(held, signers, candidate.host), name=f"delivery {held.id}")
        self._sending[task] = held

        def ended(task: asyncio.Task[None]) -> None:
            self._slots.give_back(candidate)
            if self._left_behind and self._gathering is None:
                self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._gathered)
            if not task.cancelled():
                del self._sending[task]

        task.add_done_callback(ended)

    def _gathered(self) -> None:
        self._gathering = None
        self._look.set()

    async def _deliver(self, held: Claim, signers: Sequence[SigningSecret] | Unsendable, host: str) -> None:
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
        await self._record(held, outcome, decision, [secret.id for secret in signers])

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

    async def _record(self, held: Claim, outcome: Outcome, decision: Decision, secret_ids: Sequence[UUID]) -> None:
        """Record an attempt, for as long as the claim lasts also over failures of the database."""
        deadline = time.monotonic() + self._timing.margin
        while True:
            try:
                async with self._recording, self._db.system() as transaction:
                    recorded = await record(transaction, held, outcome, decision, secret_ids)
                break
            except Exception as error:  # without the record the message would be sent twice
                log.warning("cannot record a delivery attempt", delivery_id=str(held.id), error=_first_line(error))
                if time.monotonic() > deadline:
                    return
                await asyncio.sleep(DATABASE_PAUSE_SECONDS)
        _tell(held, outcome, recorded)

    async def _stop(self) -> None:
        """Let attempts end for the grace time, interrupt the rest and give their claims back."""
        try:
            if self._sending:
                await asyncio.wait(self._sending, timeout=self._timing.grace)
        finally:
            left = list(self._sending)
            for task in left:
                task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        claims = list(self._sending.values())
        self._sending.clear()
        if claims:
            with contextlib.suppress(Exception):  # then they lapse
                async with self._db.system() as transaction:
                    await queries.release(transaction, claims)
                self._hub.publish(TOPIC)


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


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]

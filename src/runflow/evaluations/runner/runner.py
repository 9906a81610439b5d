"""Emptying the queue of evaluations. Any number of server processes may do it.

An evaluation is claimed in one transaction, judged outside of any, and ended in another that is guarded by the claim
(`db/claim_loop.py`). Claims are renewed while they are worked on; a process that dies leaves its claims to lapse, and
others begin anew, at most three times in all.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from runflow.billing.settlement import BUDGET_TOPIC
from runflow.db.claim_loop import Claimed, ClaimLoop, Extension, recorded
from runflow.evaluations.limits import MAX_ATTEMPTS, EvaluationFailed, FailureCode
from runflow.evaluations.runner import ending
from runflow.evaluations.runner import queries as queue
from runflow.evaluations.runner.attempt import Bench, Judged, clear_leftovers
from runflow.evaluations.runner.ending import Ended
from runflow.evaluations.runner.files import Files
from runflow.evaluations.runner.judging import judging_pool
from runflow.evaluations.runner.queries import Claim
from runflow.evaluations.service import TOPIC
from runflow.evaluations.vision import configured_vision_judge
from runflow.outgoing import GuardedClient
from runflow.web.services import Services

log = structlog.get_logger()

FOLDER = "evaluations"
"""Below the home folder: images while they are judged."""
LEFTOVER_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds. `lease`: how long a claim lasts without being renewed; `poll`: how often the queue is looked at

    without being told; `delays`: before the second and the third attempt; `record`: how long an end is tried to be
    recorded.
    """

    lease: float = 20.0
    poll: float = 5.0
    delays: tuple[float, ...] = (5.0, 30.0)
    record: float = 15.0


class Evaluations:
    """The evaluations that are due, and the judging of one."""

    def __init__(self, services: Services, bench: Bench, timing: Timing) -> None:
        """Judge on this bench."""
        self._services = services
        self._bench = bench
        self._timing = timing

    async def claim(self, places: int) -> Claimed[Claim]:
        """Claim at most `places` evaluations that are due."""
        async with self._services.db.system() as transaction:
            claims = await queue.claim(transaction, places, self._timing.lease)
            to_next = None if claims else await queue.seconds_to_next(transaction)
        return Claimed(claims, more=bool(claims), seconds_to_next=to_next)

    def name_of(self, held: Claim) -> str:
        """Return the id of an evaluation."""
        return str(held.id)

    async def work(self, held: Claim) -> float | None:
        """Judge an evaluation, and record what came of it. Returns in how many seconds it is tried again."""
        about = {"evaluation_id": str(held.id), "attempt": held.attempt_number}
        if held.attempt_number > MAX_ATTEMPTS:
            message = (
                f"The server was lost {MAX_ATTEMPTS} times while it evaluated this image. "
                "The operator's log may tell why; submit it again."
            )
            return await self._record(held, EvaluationFailed(FailureCode.EVALUATOR_LOST, message, is_final=True))
        try:
            outcome = await self._bench.judge(held)
        except EvaluationFailed as failure:
            log.info("evaluation failed", code=failure.code, detail=failure.message, **about)
            return await self._record(held, failure)
        except Exception:  # a defect of ours must not keep an evaluation in the queue for ever
            log.exception("evaluation failed unexpectedly", **about)
            message = "Runflow could not evaluate this image; the server's log tells why."
            return await self._record(held, EvaluationFailed(FailureCode.INTERNAL, message, is_final=False))
        return await self._record(held, outcome)

    async def _record(self, held: Claim, outcome: EvaluationFailed | Judged) -> float | None:
        """Write what became of an attempt, for a while also over failures of the database."""
        about = {"evaluation_id": str(held.id)}
        failing, seconds = "cannot record an evaluation", self._timing.record
        if isinstance(outcome, EvaluationFailed) and not outcome.is_final and held.attempt_number < MAX_ATTEMPTS:
            delays = self._timing.delays
            delay = delays[min(held.attempt_number, len(delays)) - 1]
            await recorded(lambda: self._give_back(held, delay), seconds=seconds, failing=failing, about=about)
            return delay
        ended = await recorded(lambda: self._end(held, outcome), seconds=seconds, failing=failing, about=about)
        if ended.is_ours:
            self._services.hub.publish("delivery")
            if ended.budget_used_up:
                self._services.hub.publish(BUDGET_TOPIC, str(held.org_id))
            if ended.balance_low is not None:
                log.warning("balance low", org_id=str(held.org_id), balance=str(ended.balance_low))
        else:
            log.warning("evaluation came too late to be recorded", **about)
        return None

    async def _give_back(self, held: Claim, delay: float) -> None:
        async with self._services.db.system() as transaction:
            await queue.give_back(transaction, held, delay)

    async def _end(self, held: Claim, outcome: EvaluationFailed | Judged) -> Ended:
        async with self._services.db.system() as transaction:
            if isinstance(outcome, EvaluationFailed):
                return await ending.fail(transaction, held, outcome)
            return await ending.complete(transaction, held, outcome)

    async def extend(self, held: Sequence[Claim]) -> None:
        """Make claims last for another lease time."""
        async with self._services.db.system(durable=False) as transaction:
            await queue.renew(transaction, [claim.claim_id for claim in held], self._timing.lease)

    async def release(self, held: Sequence[Claim]) -> None:
        """Give claims back, uncounted."""
        async with self._services.db.system() as transaction:
            await queue.release(transaction, held)

    def loop(self, most: int) -> ClaimLoop[Claim]:
        """Return what judges at most so many at once."""
        return ClaimLoop(
            self,
            self._services.hub,
            TOPIC,
            name="the queue of evaluations",
            most=most,
            poll=self._timing.poll,
            extension=Extension(self.extend, self._timing.lease / 3),
        )


class EvaluationRunner:
    """Evaluates what is due, in one server process."""

    def __init__(self, services: Services, client: GuardedClient, *, timing: Timing | None = None) -> None:
        """Prepare; `run` does the work."""
        self._services = services
        self._client = client
        self._timing = timing or Timing(lease=services.settings.lease_seconds)

    async def run(self) -> None:
        """Evaluate until cancelled; then give what is not finished back, uncounted."""
        settings = self._services.settings
        size = settings.evaluation_processes
        if not size:
            return
        folder = settings.home_dir / FOLDER
        with contextlib.suppress(OSError):
            await clear_leftovers(folder, LEFTOVER_SECONDS)
        async with judging_pool(size) as pool, configured_vision_judge(settings) as vision:
            bench = Bench(Files(self._services, self._client), pool, vision, folder)
            # While processes judge, the next images are fetched, and models elsewhere are waited for.
            most = 2 * size + (4 if vision is not None else 0)
            await Evaluations(self._services, bench, self._timing).loop(most).run()

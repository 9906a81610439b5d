"""The engine that empties the queue of evaluations. Any number of server processes may run one.

An evaluation is claimed in one transaction, judged outside of any, and ended in another that is guarded by the claim.
Claims are renewed while they are worked on; a process that dies leaves its claims to lapse, and others begin anew, at
most three times in all.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from uuid import UUID

import structlog

from runflow.billing.settlement import BUDGET_TOPIC
from runflow.evaluations.limits import MAX_ATTEMPTS, EvaluationFailed, FailureCode
from runflow.evaluations.runner import ending
from runflow.evaluations.runner import queries as queue
from runflow.evaluations.runner.attempt import Bench, Judged, clear_leftovers
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
DATABASE_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds. `lease`: how long a claim lasts without being renewed; `poll`: how often the engine looks without

    being told; `delays`: before the second and the third attempt; `record`: how long an end is tried to be recorded.
    """

    lease: float = 20.0
    poll: float = 5.0
    delays: tuple[float, ...] = (5.0, 30.0)
    record: float = 15.0


class EvaluationRunner:
    """Evaluates what is due, in one server process."""

    def __init__(self, services: Services, client: GuardedClient, *, timing: Timing | None = None) -> None:
        """Prepare; `run` does the work."""
        self._services = services
        self._client = client
        self._timing = timing or Timing(lease=services.settings.lease_seconds)
        self._working: dict[asyncio.Task[None], Claim] = {}
        self._look = asyncio.Event()

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
            renewal = asyncio.create_task(self._renew_forever())
            try:
                with self._services.hub.waiting(TOPIC) as self._look:
                    while True:
                        self._look.clear()
                        pause = await self._begin_due(bench, most)
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(pause):
                                await self._look.wait()
            finally:
                renewal.cancel()
                await asyncio.gather(renewal, return_exceptions=True)
                await self._stop()

    async def _begin_due(self, bench: Bench, most: int) -> float:
        """Begin what is due and has a place. Returns for how long there will be nothing to do."""
        places = most - len(self._working)
        if places <= 0:
            return self._timing.poll
        try:
            async with self._services.db.system() as transaction:
                claims = await queue.claim(transaction, places, self._timing.lease)
                to_next = None if claims else await queue.seconds_to_next(transaction)
        except Exception as error:
            log.warning("cannot read the queue of evaluations, trying again", error=_first_line(error))
            return DATABASE_PAUSE_SECONDS
        for held in claims:
            task = asyncio.create_task(self._evaluate(bench, held), name=f"evaluation {held.id}")
            self._working[task] = held
            task.add_done_callback(self._ended)
        if claims:
            return self._timing.poll if len(claims) == places else 0.0
        return self._timing.poll if to_next is None else min(max(to_next, 0.0), self._timing.poll)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._look.set()
        if not task.cancelled():
            self._working.pop(task, None)

    async def _evaluate(self, bench: Bench, held: Claim) -> None:
        about = {"evaluation_id": str(held.id), "attempt": held.attempt_number}
        if held.attempt_number > MAX_ATTEMPTS:
            message = (
                f"The server was lost {MAX_ATTEMPTS} times while it evaluated this image. "
                "The operator's log may tell why; submit it again."
            )
            await self._record(held, EvaluationFailed(FailureCode.EVALUATOR_LOST, message, is_final=True))
            return
        try:
            outcome = await bench.judge(held)
        except EvaluationFailed as failure:
            log.info("evaluation failed", code=failure.code, detail=failure.message, **about)
            await self._record(held, failure)
        except Exception:  # a defect of ours must not keep an evaluation in the queue for ever
            log.exception("evaluation failed unexpectedly", **about)
            message = "Runflow could not evaluate this image; the server's log tells why."
            await self._record(held, EvaluationFailed(FailureCode.INTERNAL, message, is_final=False))
        else:
            await self._record(held, outcome)

    async def _record(self, held: Claim, outcome: EvaluationFailed | Judged) -> None:
        """Write what became of an attempt, for a while also over failures of the database."""
        deadline = asyncio.get_running_loop().time() + self._timing.record
        while True:
            try:
                async with self._services.db.system() as transaction:
                    if not isinstance(outcome, EvaluationFailed):
                        ended = await ending.complete(transaction, held, outcome)
                    elif outcome.is_final or held.attempt_number >= MAX_ATTEMPTS:
                        ended = await ending.fail(transaction, held, outcome)
                    else:
                        delays = self._timing.delays
                        await queue.give_back(transaction, held, delays[min(held.attempt_number, len(delays)) - 1])
                        return
                break
            except Exception as error:
                log.warning("cannot record an evaluation", evaluation_id=str(held.id), error=_first_line(error))
                if asyncio.get_running_loop().time() > deadline:
                    return  # the claim lapses, and it is tried again
                await asyncio.sleep(DATABASE_PAUSE_SECONDS)
        if ended.is_ours:
            self._services.hub.publish("delivery")
            if ended.budget_used_up:
                self._services.hub.publish(BUDGET_TOPIC, str(held.org_id))
            if ended.balance_low is not None:
                log.warning("balance low", org_id=str(held.org_id), balance=str(ended.balance_low))
        else:
            log.warning("evaluation came too late to be recorded", evaluation_id=str(held.id))

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(self._timing.lease / 3)
            claims: list[UUID] = [held.claim_id for held in self._working.values()]
            if not claims:
                continue
            try:
                async with self._services.db.system(durable=False) as transaction:
                    await queue.renew(transaction, claims, self._timing.lease)
            except Exception as error:
                log.warning("cannot renew claims of evaluations", error=_first_line(error))

    async def _stop(self) -> None:
        left = dict(self._working)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._working.clear()
        with contextlib.suppress(Exception):  # then they lapse
            async with self._services.db.system() as transaction:
                await queue.release(transaction, list(left.values()))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]

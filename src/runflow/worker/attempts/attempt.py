"""One lease from its arrival to its completion (docs/architecture.md, "The way of a run", 3 to 5)."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from runflow.graph import OutputError, OutputFile, collect_outputs
from runflow.protocol.bounds import MAX_LINE
from runflow.protocol.completions import Completion, Output, Result, Timings
from runflow.protocol.failures import Failure, FailureCode, Stage
from runflow.protocol.runtimes import BuildReport
from runflow.worker.attempts.context import Stop, WorkerContext
from runflow.worker.attempts.failures import (
    RunFailed,
    engine_failure,
    failed,
    failure_of,
    shutdown_failure,
    timeout_failure,
)
from runflow.worker.attempts.heartbeat import Heartbeat
from runflow.worker.attempts.lease import Lease
from runflow.worker.attempts.media import safe_name
from runflow.worker.attempts.preparation import Preparation
from runflow.worker.attempts.report import Report, moment
from runflow.worker.attempts.upload import LocalOutput, Uploading, fit_inline, inline, inspect, missing, upload
from runflow.worker.attempts.waits import Waits
from runflow.worker.clock import CLOCK
from runflow.worker.engine.base import EngineError, FileMissing, OutputRef
from runflow.worker.engine.boundary import NotAFile, OpenedOutput
from runflow.worker.engine.execution import Execution
from runflow.worker.pool.engine_pool import EngineChanged, GivenBack
from runflow.worker.pool.pooled_engine import Seat
from runflow.worker.runtimes import BuildFailed
from runflow.worker.server_api.connection import (
    LeaseLost,
    NotWelcome,
    ServerFailing,
    ServerRefused,
    ServerUnavailable,
)
from runflow.worker.server_api.retry import until_answered

log = structlog.get_logger()

_TOO_LARGE = 413
_BRING_SECONDS = 5.0
"""How long a server that answers with errors is sent outputs with the completion: its lease needs a heartbeat soon."""
_ENGINE_CHANGES = 3
"""How often a run is prepared again because the engine was started anew in between."""


class Attempt:
    """Carries one run through; `run` is its task, `stop` ends it early.

    `on_progress` is called when it needs the engine no more, and when its lease is over.
    """

    def __init__(self, lease: Lease, context: WorkerContext, on_progress: Callable[[], None]) -> None:
        self.lease = lease
        self.has_executed = False
        self.asks = False
        """Whether its completion will ask for the next run: then nobody else does meanwhile."""
        self._local: list[LocalOutput] = []
        self._contents: list[bytes] = []
        self._context = context
        self._on_progress = on_progress
        self._folder = f"runflow/{lease.id}"
        self._staging = context.staging / lease.id
        self._waits = Waits()
        self._preparation = Preparation(
            lease,
            context.fetching,
            staging=self._staging,
            folder=self._folder,
            waits=self._waits,
            on_slow=self._slow_changed,
        )
        self._report = Report(lease.prompt)
        self._heartbeat = Heartbeat(
            context.connection,
            lease.id,
            self._report,
            context.timing,
            on_cancel=partial(self.stop, Stop.CANCELLED),
            on_lost=partial(self.stop, Stop.LOST),
        )
        self._task: asyncio.Task[Any] | None = None
        self._stop: Stop | None = None
        self._closing = False
        self._abandoned = False
        self._seat: Seat | None = None
        self._built: BuildReport | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._timings: dict[str, Any] = {"started_at": None, "load_ms": 0, "execute_ms": 0, "upload_ms": 0}

    @property
    def is_slow(self) -> bool:
        """Whether its files take long to come; it needs neither an engine nor a place before them."""
        return self._preparation.is_slow

    @property
    def has_begun(self) -> bool:
        """Whether the engine has begun to execute it."""
        return self._report.has_begun

    def stop(self, why: Stop) -> None:
        """End it as soon as that can be done cleanly. Too late when its result is known."""
        if self._closing or self._stop is Stop.LOST:
            return
        is_first = self._stop is None
        if is_first or why is Stop.LOST:
            self._stop = why
        if is_first and self._task is not None:
            self._task.cancel()

    def abandon(self) -> None:
        """End it now, without a word to the server, whose lease will expire."""
        self._abandoned = True
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Carry the run to its completion. Raises nothing but CancelledError, after `abandon`."""
        self._task = asyncio.current_task()
        if self._task is not None and (self._stop is not None or self._abandoned):
            self._task.cancel()
        arrived = time.perf_counter()
        self._heartbeat.start()
        said = "nothing"
        completion: Completion | None = None
        try:
            completion = await self._outcome()
            self._heartbeat.stop()
            if completion is not None:
                said, completion = await self._say(completion)
        finally:
            self._heartbeat.stop()
            self.asks = False
            self._has_executed()
            self._on_progress()
            self._log(completion, said, arrived)
            await self._clean()

    async def _outcome(self) -> Completion | None:
        """Return the completion to send, or None when there is nothing to say."""
        try:
            outputs = await self._work()
            return self._completion("succeeded", outputs=outputs)
        except RunFailed as ended:
            return self._failed(ended.failure)
        except GivenBack as back:
            log.info("Giving a run back.", lease_id=self.lease.id, reason=str(back))
            return self._completion("released")
        except (LeaseLost, NotWelcome):
            return None
        except asyncio.CancelledError:
            if self._abandoned or self._stop is None or self._task is None:
                raise
            self._task.uncancel()
            return self._stopped(self._stop)
        except Exception:
            log.exception("A run met a fault of the worker.", run_id=self.lease.run_id, lease_id=self.lease.id)
            message = "The worker met an error of its own. The operator finds it in the worker's log."
            return self._failed(Failure(FailureCode.INTERNAL, Stage.EXECUTE, message, retryable=True))
        finally:
            self._closing = True
            self._leave_soon()

    async def _work(self) -> list[Output]:
        execution, prompt = await self._execute()
        # Of short runs the outputs are small, as a rule: where they may come along, the completion goes out at once.
        self.asks = self._context.executor.is_short and self.lease.inline_bytes > 0
        self._has_executed()
        # A prompt's loads are part of what its engine measured; nobody pays for them twice.
        load_ms = execution.loads.total_ms if execution.loads is not None else 0
        self._timings["load_ms"] = round(load_ms)
        self._timings["execute_ms"] = round(execution.execute_ms) - round(load_ms)
        self._report.loaded_models(execution.loads)
        self._timings["peak_memory_bytes"] = execution.peak_memory_bytes
        if execution.started_at is not None:
            self._timings["started_at"] = moment(execution.started_at)
        failure = failure_of(execution, prompt, self.lease)
        if failure is not None:
            if execution.error is not None and failure.node_id is not None and not execution.rejected:
                self._report.node_failed(failure.node_id, execution.finished_at, execution.error.message)
                if self.lease.tracebacks and execution.error.traceback is not None:
                    where = {"node_id": failure.node_id, "node_type": failure.node_type}
                    self._report.log("error", execution.error.traceback, execution.finished_at, **where)
            raise RunFailed(failure)
        self._report.succeeded(execution.finished_at)
        began = time.perf_counter()
        local = await self._collect(execution, prompt)
        context = self._context
        if fit_inline(local, self.lease.inline_bytes):
            outputs, self._contents = inline(local)
        else:
            self._ask_no_more()
            self._leave_soon()
            outputs = await self._upload(local)
            context.expected.learn(self.lease.version_id, local)
        self._timings["upload_ms"] = _milliseconds(began)
        return outputs

    async def _upload(self, local: list[LocalOutput]) -> list[Output]:
        context = self._context
        uploading = Uploading(context.connection, self.lease.id, context.timing.patience, self.lease.uploads)
        return await upload(local, uploading)

    async def _execute(self) -> tuple[Execution, dict[str, dict[str, Any]]]:
        """Prepare, take a turn on the engine, and return how the prompt ended and what it was."""
        try:
            with self._waits.for_runtime():
                ready = await self._preparation.build(self._context.runtimes, self._tell)
            self._built = ready.report
        except BuildFailed as failed_build:
            self._built = failed_build.report
            if self.lease.tracebacks:  # it tells what the version is made of
                self._report.log("error", failed_build.report.log[-MAX_LINE:], CLOCK.now())
            raise
        fetched = await self._preparation.fetch(takes_models=self._context.executor.takes_models, tell=self._tell)
        for _ in range(_ENGINE_CHANGES):
            await self._leave()
            try:
                self._seat = seat = await self._context.executor.seat(self.lease, fetched.models, ready.name)
            except EngineError as error:
                raise RunFailed(engine_failure(error, Stage.PREPARE)) from error
            self._waits.seats.append(seat)
            try:
                await seat.engine.begin(self._folder)
                prompt = await self._preparation.place(fetched, seat.engine)
            except (EngineError, OSError, RunFailed):
                if seat.is_lost:  # it was ended meanwhile, with what was placed there
                    continue
                raise
            self._report.use_prompt(prompt, seat.output_types)
            try:
                execution = await self._context.executor.execute(
                    self.lease,
                    prompt,
                    self._report,
                    seat=seat,
                    on_time_up=partial(self.stop, Stop.TIME_UP),
                    give_back=partial(self.stop, Stop.GIVEN_BACK),
                )
            except EngineChanged:
                continue
            except EngineError as error:
                log.error("The engine failed.", lease_id=self.lease.id, reason=str(error))
                failure = engine_failure(error, Stage.EXECUTE, has_begun=self.has_begun)
                self._report.end_running(CLOCK.now(), failure.message)
                raise RunFailed(failure) from error
            return execution, prompt
        raise GivenBack("The engine does not stay up.")

    def _tell(self, message: str) -> None:
        """Have the run's log say how its preparation goes."""
        self._report.log("info", message, CLOCK.now())

    async def _collect(self, execution: Execution, prompt: dict[str, dict[str, Any]]) -> list[LocalOutput]:
        try:
            files = collect_outputs(prompt, self.lease.interface, execution.outputs)
        except OutputError as error:
            worst = error.problems[0]
            raise failed(
                FailureCode.OUTPUT_MISSING, Stage.COLLECT, str(worst), node_id=worst.node_id, node_type=worst.class_type
            ) from error
        for ordinal, file in enumerate(files):
            opened = await self._open(file, ordinal)
            self._local.append(await inspect(file, opened, limit_bytes=self.lease.max_output_bytes))
        return self._local

    async def _open(self, file: OutputFile, ordinal: int) -> OpenedOutput:
        """Return an output, open: whatever becomes of its name, that file is what is delivered."""
        assert self._seat is not None
        output = OutputRef(file.filename, file.subfolder, file.type)
        staging = self._staging / f"out-{safe_name(file.filename, ordinal)}"
        try:
            return await self._seat.engine.open_output(output, staging)
        except (FileMissing, NotAFile) as error:
            raise missing(file, str(error)) from error
        except EngineError as error:
            raise RunFailed(engine_failure(error, Stage.COLLECT)) from error
        except OSError as error:
            raise missing(file, f"{error.strerror or 'The disk failed'}.") from error

    def _stopped(self, why: Stop) -> Completion | None:
        """Return what to say after a stop."""
        now = CLOCK.now()
        if why is Stop.LOST:
            return None
        if why is Stop.GIVEN_BACK or (why is Stop.SHUTDOWN and not self.has_begun):
            return self._completion("released")
        if why is Stop.CANCELLED:
            self._report.end_running(now, "The run was cancelled.")
            return self._completion("cancelled")
        if why is Stop.TIME_UP:
            self._report.end_running(now, "The run's time was up.")
            return self._failed(timeout_failure(self.lease.timeout_seconds, Stage.EXECUTE))
        self._report.end_running(now, "The worker was stopped.")
        return self._failed(shutdown_failure())

    def _failed(self, failure: Failure) -> Completion:
        return self._completion("failed", error=failure)

    def _completion(
        self, result: Result, *, outputs: list[Output] | None = None, error: Failure | None = None
    ) -> Completion:
        if not self.has_executed and self._report.begun_at is not None:
            # The prompt was stopped, or its engine died: nobody but us measured it.
            self._timings["execute_ms"] = self._report.engine_ms(CLOCK.now())
            self._timings["started_at"] = moment(self._report.begun_at)
        self._timings["prepare_ms"] = self._preparation.milliseconds
        self._timings["cold_start"] = self._report.cold_start
        self._timings["loaded"] = self._report.loaded
        self._timings |= self._waits.told()
        return Completion(
            **self._context.connection.caller,
            result=result,
            outputs=outputs or [],
            error=error,
            timings=Timings(**self._timings),
            nodes=self._report.nodes(),
            events=self._report.take(),
            next=self._context.room() if self.asks else None,
            built=self._built,
        )

    async def _say(self, completion: Completion) -> tuple[str, Completion]:
        """Tell the server until it answers. Returns what became of it, and what was told in the end, for the log."""
        try:
            if self._contents and completion.outputs:
                completion = await self._bring_along(completion)
            else:
                await self._complete(completion)
        except ServerRefused as refusal:
            if isinstance(refusal, LeaseLost | NotWelcome):
                return refusal.code, completion
            log.error("The server refused a completion.", lease_id=self.lease.id, reason=str(refusal))
            message = "The server did not accept what the worker reported. The operator finds it in the worker's log."
            failure = Failure(FailureCode.INTERNAL, Stage.UPLOAD, message, retryable=True)
            plain = Completion(**self._context.connection.caller, result="failed", error=failure)
            with contextlib.suppress(ServerRefused, ServerUnavailable):
                await self._complete(plain)
            return refusal.code, plain
        except ServerUnavailable as trouble:
            log.error("The server is away; a result is lost.", lease_id=self.lease.id, reason=str(trouble))
            return "UNAVAILABLE", completion
        return "accepted", completion

    async def _bring_along(self, completion: Completion) -> Completion:
        """Say it with the contents of its outputs; where the server does not take them so, store them first.

        Its storage may be full, or a proxy before it may take no such body: then that says what is wrong.
        """
        try:
            await self._complete(completion, self._contents, failing_seconds=_BRING_SECONDS)
        except (ServerFailing, ServerRefused) as trouble:
            if isinstance(trouble, ServerRefused) and trouble.status != _TOO_LARGE:
                raise
            log.warning("The outputs do not go with the completion.", lease_id=self.lease.id, reason=str(trouble))
            self._heartbeat.start()
            self._ask_no_more()
            try:
                completion = replace(completion, outputs=await self._upload(self._local), next=None)
            except RunFailed as ended:
                completion = self._failed(ended.failure)
            self._heartbeat.stop()
            await self._complete(completion)
        return completion

    async def _complete(
        self, completion: Completion, contents: Sequence[bytes] = (), *, failing_seconds: float | None = None
    ) -> None:
        while True:
            try:
                following = await until_answered(
                    lambda: self._context.connection.complete(self.lease.id, completion, contents),
                    what="completion",
                    seconds=self._context.timing.patience,
                    failing_seconds=failing_seconds,
                )
                if following is not None:
                    self._context.take(following)
                return
            except asyncio.CancelledError:
                # A stop that came together with the result; only `abandon` may end this.
                if self._abandoned or self._stop is None or self._task is None:
                    raise
                self._task.uncancel()

    def _slow_changed(self) -> None:
        """Others go first while its files take long to come."""
        warmth = self._context.executor.warmth
        if self.is_slow:
            warmth.gone(self.lease)
            self._on_progress()
        else:
            warmth.took(self.lease)

    def _ask_no_more(self) -> None:
        """Let the worker ask for its next run by itself: this completion takes its time."""
        if self.asks:
            self.asks = False
            self._on_progress()

    def _has_executed(self) -> None:
        if not self.has_executed:
            self.has_executed = True
            self._on_progress()

    async def _clean(self) -> None:
        """Leave nothing of the run behind, whatever became of it."""
        if self._leaving is not None:
            await self._leaving
        await self._leave()
        await self._preparation.release()
        opened = [output for output in self._local if output.opened is not None]
        if opened:
            await asyncio.to_thread(_close, opened)
        if self._staging.exists():
            await asyncio.to_thread(shutil.rmtree, self._staging, ignore_errors=True)

    def _leave_soon(self) -> None:
        """Leave the engine while the rest goes on: its outputs are open, so nothing of it is needed any more."""
        if self._seat is not None:
            self._leaving = asyncio.create_task(self._leave(), name=f"leave {self.lease.run_id}")

    async def _leave(self) -> None:
        """Leave the engine to others, with nothing of this run in its folders."""
        if self._seat is None:
            return
        seat, self._seat = self._seat, None
        try:
            with contextlib.suppress(EngineError, OSError):
                await seat.engine.clean(self._folder)
        finally:
            self._context.executor.leave(seat)
            self._on_progress()

    def _log(self, completion: Completion | None, said: str, arrived: float) -> None:
        error = completion.error if completion is not None else None
        log.info(
            "run",
            run_id=self.lease.run_id,
            lease_id=self.lease.id,
            attempt=self.lease.attempt_number,
            result=completion.result if completion is not None else "dropped",
            code=error.code.value if error is not None else None,
            message=error.message if error is not None else None,
            server=said,
            prepare_ms=self._preparation.milliseconds,
            **self._waits.told(),
            load_ms=self._timings["load_ms"],
            execute_ms=self._timings["execute_ms"],
            upload_ms=self._timings["upload_ms"],
            total_ms=_milliseconds(arrived),
        )


def _close(outputs: list[LocalOutput]) -> None:
    """Let go of files. What has no name by then is removed with that, which takes its time where it is large."""
    for output in outputs:
        output.close()


def _milliseconds(since: float) -> int:
    return round((time.perf_counter() - since) * 1000)

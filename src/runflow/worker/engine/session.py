"""Run prompts on one ComfyUI: several in flight, told apart by their ids.

The history is the truth, and the websocket is a hint unless it told everything, from a prompt's start to its success
(`told`). A message tells when to look; without a socket, or after a silence, `_watch` looks by itself. What ComfyUI
does on the way (all recorded): `execution_success` may come before the history has the entry; a removed prompt leaves
neither event nor history; messages go only to the socket that the prompt was submitted for; an engine that died knows
nothing any more.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import orjson
import structlog

from runflow.worker.engine.base import AnswerTooLarge, EngineCrashed, EngineError, EngineUnreachable
from runflow.worker.engine.event_socket import EventSocket
from runflow.worker.engine.execution import Execution, OnEvent, Prompt, PromptRejected
from runflow.worker.engine.failures import wanted_network
from runflow.worker.engine.previews import Preview
from runflow.worker.engine.protocol import MOST_HISTORY_BYTES, ComfyClient
from runflow.worker.engine.results import interrupted, read_history, rejected, told_too_much
from runflow.worker.engine.told import MOST_CHARACTERS
from runflow.worker.engine.tracker import Tracker
from runflow.worker.server_api.http_answer import MOST_BYTES

log = structlog.get_logger(__name__)

_Answer = TypeVar("_Answer")
_SOCKET_SECONDS = 2.0
_WATCH_SECONDS = 0.1
_SILENCE_SECONDS = 5.0
_HISTORY_WAITS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_FORGET_AT = 16
_FORGET_SECONDS = 2.0
_WRITTEN_SECONDS = 0.5
_CANCEL_STEP_SECONDS = 0.1
_ARRIVAL_SECONDS = 0.5
_ORPHANS = 2000
_LARGE_PROMPT = 512 * 1024
_ESCAPED = 8
"""So many bytes of an entry may come of one of the prompt: what is not ASCII is escaped, and inputs are told twice."""
_MOST_COMPLAINTS = 20


class PromptSession:
    """The prompts of one engine. Call `open` before and `close` after.

    `unreachable_seconds`: for how long an engine may not answer before its prompts are given up. For an owned engine
    the end of its process says so earlier, by `fail_all`.
    """

    def __init__(self, client: ComfyClient, *, unreachable_seconds: float = 30.0) -> None:
        self._client = client
        self._socket = EventSocket(client, self._message, self._garbled, self._socket_lost, self._preview)
        self._unreachable_seconds = unreachable_seconds
        self._trackers: dict[str, Tracker] = {}
        self._engine_ids: dict[str, str] = {}
        self._orphans: list[tuple[str, str, Mapping[str, Any], int]] = []
        self._orphaned = 0
        self._submitting = 0
        self._dead: EngineError | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._in_use = asyncio.Event()
        self._look = asyncio.Event()
        self._to_forget: list[str] = []
        self._forget_timer: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._leaving: dict[str, asyncio.Task[Any]] = {}

    async def open(self) -> None:
        """Connect the websocket and start watching."""
        await self._socket.open()
        self._watcher = asyncio.create_task(self._watch(), name="engine-watch")

    async def close(self) -> None:
        """Stop everything; prompts still in flight raise EngineCrashed."""
        self.fail_all(EngineCrashed("The engine was stopped while it had work."))
        if self._forget_timer is not None:
            self._forget_timer.cancel()
        for task in [*self._background, *([self._watcher] if self._watcher else [])]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, EngineError):
                await task
        await self._socket.close()

    @property
    def in_flight(self) -> int:
        """How many prompts are submitted and not finished."""
        return len(self._trackers)

    def fail_all(self, error: EngineError) -> None:
        """Give up: every prompt in flight, and each later one, raises this error."""
        if self._dead is None:
            self._dead = error
            for tracker in self._trackers.values():
                tracker.fail(error)

    async def execute(
        self,
        prompt: Prompt,
        prompt_id: str,
        on_event: OnEvent | None = None,
        *,
        extra_data: Mapping[str, Any] | None = None,
    ) -> Execution:
        """Run one prompt to its end. `prompt_id` is a lower-case hyphenated UUID, new for each call.

        A prompt that the engine refuses, or that is only partly valid, comes back as a rejected failure; its valid part
        is stopped. Raises EngineCrashed, EngineUnreachable or EngineRefused, when nothing is known about the prompt.
        Cancelling the calling task stops the prompt in the background.
        """
        if self._dead is not None:
            raise self._dead
        tracker = Tracker(prompt, on_event)
        self._trackers[prompt_id] = tracker
        self._in_use.set()
        try:
            await self._submit(prompt, prompt_id, tracker, extra_data)
            while True:
                await tracker.done
                execution = await self._result(prompt_id, tracker)
                if execution is not None:
                    return execution
                if self._dead is not None:
                    raise self._dead
                tracker.goes_on()
        except PromptRejected as refusal:
            if refusal.partial:
                tracker.cancelled = True
                await self._remove(prompt_id, tracker, timeout=_SILENCE_SECONDS * 2)
            return rejected(refusal.error)
        except BaseException:
            if self._dead is None:
                self._leaving[prompt_id] = self._spawn(self._leave(prompt_id, tracker))
            raise
        finally:
            del self._trackers[prompt_id]
            self._forget(self._engine_ids.pop(prompt_id, prompt_id))
            if tracker.done.done() and not tracker.done.cancelled():
                tracker.done.exception()  # seen, also where another error came first

    async def cancel(self, prompt_id: str, *, timeout: float = 10.0) -> bool:
        """Stop exactly that prompt, waiting or running. Return whether it is off the engine after `timeout` seconds.

        ComfyUI looks for interrupts between nodes and at progress steps; a long node without them runs on.
        """
        tracker = self._trackers.get(prompt_id)
        if tracker is None:
            leaving = self._leaving.get(prompt_id)
            if leaving is not None:
                await asyncio.wait({leaving}, timeout=timeout)
            return leaving is None or (leaving.done() and not leaving.cancelled() and leaving.exception() is None)
        tracker.cancelled = True
        return await self._remove(prompt_id, tracker, timeout=timeout)

    async def _leave(self, prompt_id: str, tracker: Tracker) -> None:
        """Take a prompt off the engine that nobody waits for any more. Raises EngineUnreachable where it stays."""
        try:
            if not await self._remove(prompt_id, tracker, timeout=_SILENCE_SECONDS * 6):
                raise EngineUnreachable("A prompt that nobody waits for does not stop.")
        finally:
            self._leaving.pop(prompt_id, None)

    async def _submit(
        self, prompt: Prompt, prompt_id: str, tracker: Tracker, extra_data: Mapping[str, Any] | None
    ) -> None:
        """Queue the prompt. When the answer was lost, find out whether it arrived before sending it again."""
        self._submitting += 1
        try:
            for last_try in (False, True):
                tracker.client_id = await self._socket.ready(_SOCKET_SECONDS)
                client_id = tracker.client_id or uuid.uuid4().hex
                try:
                    engine_id = await self._client.submit(prompt, prompt_id, client_id, extra_data)
                    break
                except PromptRejected as refusal:
                    if refusal.partial:
                        self._engine_ids[prompt_id] = refusal.queued_id or prompt_id
                    raise
                except EngineUnreachable:
                    if last_try:
                        raise
                    if await self._patiently(lambda: self._known(prompt_id)):
                        engine_id = prompt_id
                        break
            if engine_id != prompt_id:
                self._adopt(prompt_id, engine_id, tracker)
            tracker.engine_id = engine_id
        finally:
            self._submitting -= 1
            if not self._submitting:
                self._orphans.clear()
                self._orphaned = 0

    async def _patiently(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask until the engine answers, is known to be dead, or has not answered for too long."""
        deadline = time.monotonic() + self._unreachable_seconds
        while True:
            try:
                return await ask()
            except EngineUnreachable as error:
                await asyncio.sleep(_WATCH_SECONDS)
                if self._dead is not None:
                    raise self._dead from error
                if time.monotonic() > deadline:
                    raise

    async def _known(self, prompt_id: str) -> bool:
        return prompt_id in await self._client.queue() or await self._has_ended(prompt_id)

    def _adopt(self, prompt_id: str, engine_id: str, tracker: Tracker) -> None:
        """Follow a prompt under the id that an old ComfyUI gave it; its messages may be faster than its answer."""
        self._engine_ids[prompt_id] = engine_id
        for sender, kind, data, size in self._orphans:
            if sender == engine_id:
                tracker.take(kind, data, size)

    def _message(self, kind: str, data: Mapping[str, Any], size: int) -> None:
        prompt_id = data.get("prompt_id")
        if not isinstance(prompt_id, str):
            return
        tracker = self._tracker_of(prompt_id)
        if tracker is not None:
            tracker.take(kind, data, size)
        elif self._submitting and len(self._orphans) < _ORPHANS and self._orphaned + size <= MOST_CHARACTERS:
            self._orphaned += size
            self._orphans.append((prompt_id, kind, data, size))
        elif self._submitting:
            self._garbled()

    def _preview(self, preview: Preview) -> None:
        tracker = self._tracker_of(preview.prompt_id) if preview.prompt_id is not None else self._only_begun()
        if tracker is not None:
            tracker.show(preview)

    def _only_begun(self) -> Tracker | None:
        """The prompt that executes, where only one can be it."""
        begun = [tracker for tracker in self._trackers.values() if tracker.started_at is not None]
        return begun[0] if len(begun) == 1 else None

    def _tracker_of(self, engine_id: str) -> Tracker | None:
        tracker = self._trackers.get(engine_id)
        if tracker is None and self._engine_ids:
            tracker = next(
                (self._trackers.get(ours) for ours, id_ in self._engine_ids.items() if id_ == engine_id), None
            )
        return tracker

    def _garbled(self) -> None:
        """A message could not be read, and whose it was is not known either."""
        for tracker in self._trackers.values():
            tracker.told.doubt()

    def _socket_lost(self, client_id: str) -> None:
        """Prompts submitted for that connection will hear nothing more: look after them by asking."""
        for tracker in self._trackers.values():
            if tracker.client_id == client_id:
                tracker.client_id = None
                tracker.told.doubt()
        self._look.set()

    async def _result(self, prompt_id: str, tracker: Tracker) -> Execution | None:
        """Return how a prompt ended; None where it has not: a node can say of its prompt that it has."""
        if (told := tracker.told.entry) is not None:
            return self._read(told, tracker, prompt_id)
        engine_id = tracker.engine_id or prompt_id
        for wait in _HISTORY_WAITS:
            if wait:
                await asyncio.sleep(wait)
            try:
                entry = await self._patiently(lambda: self._history(engine_id, tracker))
            except AnswerTooLarge as error:
                return interrupted(tracker) if tracker.cancelled else told_too_much(error, tracker)
            if entry is not None:
                return self._read(entry, tracker, prompt_id)
            if tracker.cancelled:
                return interrupted(tracker)
        if engine_id in await self._patiently(self._client.queue):
            return None
        raise _lost()

    async def _history(self, engine_id: str, tracker: Tracker) -> dict[str, Any] | None:
        """Return the entry. It holds the prompt, too, and where a node raised its inputs once more."""
        try:
            return await self._client.history(engine_id)
        except AnswerTooLarge:
            own = len(orjson.dumps(tracker.prompt))
            if own < _LARGE_PROMPT:
                raise
            allowed = min(MOST_HISTORY_BYTES + _ESCAPED * own, MOST_BYTES)
            return await self._client.history(engine_id, most_bytes=allowed)

    def _read(self, entry: Mapping[str, Any], tracker: Tracker, prompt_id: str) -> Execution:
        execution = read_history(entry, tracker, prompt_id, self._client.hidden_folders)
        if execution.error is None or not self._client.offline:
            return execution
        return replace(execution, error=wanted_network(execution.error))

    async def _watch(self) -> None:
        """Ask about each prompt that no socket tells about, and about each that has been silent for long."""
        unreachable_since: float | None = None
        complaints = 0
        while True:
            if not self._trackers:
                self._in_use.clear()
                await self._in_use.wait()
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_SECONDS):
                    await self._look.wait()
            self._look.clear()
            now = time.monotonic()
            due = [tracker for tracker in self._trackers.values() if _is_due(tracker, now)]
            if not due:
                continue
            try:
                await self._look_after(due)
                unreachable_since = None
            except EngineUnreachable as error:
                unreachable_since = unreachable_since or now
                if now - unreachable_since > self._unreachable_seconds:
                    for tracker in due:
                        tracker.fail(error)
            except Exception:
                complaints += 1
                if complaints <= _MOST_COMPLAINTS:
                    log.exception("the engine's word about its prompts cannot be used; asking again")

    async def _look_after(self, due: list[Tracker]) -> None:
        for tracker in due:
            tracker.asked_at = time.monotonic()
        queue = await self._client.queue()
        for tracker in due:
            if tracker.engine_id is None:
                continue
            if tracker.engine_id in queue:
                tracker.missed = 0
            elif await self._has_ended(tracker.engine_id):
                tracker.finish()
            else:
                # Once may be the moment between queue and history; twice is a prompt that is gone.
                tracker.missed += 1
                if tracker.missed > 1:
                    tracker.finish() if tracker.cancelled else tracker.fail(_lost())

    async def _has_ended(self, engine_id: str) -> bool:
        try:
            return await self._client.history(engine_id) is not None
        except AnswerTooLarge:
            return True

    async def _remove(self, prompt_id: str, tracker: Tracker, *, timeout: float) -> bool:
        began = time.monotonic()
        deadline = began + timeout
        while time.monotonic() < deadline:
            engine_id = self._engine_ids.get(prompt_id) or tracker.engine_id or prompt_id
            try:
                await self._client.dequeue(engine_id)
                queue = await self._client.queue()
                if engine_id in queue.running:
                    await self._client.interrupt(engine_id)
                elif engine_id not in queue.pending and not self._may_still_arrive(prompt_id, tracker, began):
                    tracker.finish()
                    return True
            except EngineUnreachable:
                if self._dead is not None:
                    return True
            if tracker.done.done():  # known to have ended here, but not yet off the engine
                await asyncio.sleep(_CANCEL_STEP_SECONDS)
            else:
                await asyncio.wait([tracker.done], timeout=_CANCEL_STEP_SECONDS)
        return False

    def _may_still_arrive(self, prompt_id: str, tracker: Tracker, began: float) -> bool:
        """Whether the prompt may be on its way to the engine: its submission goes on, or was just broken off."""
        if tracker.engine_id is not None or prompt_id in self._engine_ids:
            return False
        return prompt_id in self._trackers or time.monotonic() - began < _ARRIVAL_SECONDS

    def _forget(self, engine_id: str) -> None:
        """Delete the history entry soon, together with others: they hold whole prompts and pile up."""
        self._to_forget.append(engine_id)
        if self._dead is not None:
            return
        if len(self._to_forget) >= _FORGET_AT:
            self._forget_now()
        elif self._forget_timer is None:
            self._forget_timer = asyncio.get_running_loop().call_later(_FORGET_SECONDS, self._forget_now)

    async def _forget_written(self, engine_ids: list[str]) -> None:
        # A prompt that the socket told in full is over here before the engine has written its entry.
        await asyncio.sleep(_WRITTEN_SECONDS)
        await self._client.forget(engine_ids)

    def _forget_now(self) -> None:
        if self._forget_timer is not None:
            self._forget_timer.cancel()
            self._forget_timer = None
        ids, self._to_forget = self._to_forget, []
        if ids and self._dead is None:
            self._spawn(self._forget_written(ids))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: "asyncio.Task[Any]") -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("background work on the engine failed", reason=str(error))


def _is_due(tracker: Tracker, now: float) -> bool:
    if tracker.done.done() or tracker.engine_id is None:
        return False
    if tracker.client_id is None:
        return now - tracker.asked_at >= _WATCH_SECONDS
    return now - max(tracker.heard_at, tracker.asked_at) > _SILENCE_SECONDS


def _lost() -> EngineCrashed:
    return EngineCrashed(
        "The engine no longer knows the prompt: it was restarted, or somebody cleared its queue. Run it again."
    )

"""Running captured workflows in ComfyUI's own queue: start, follow, cancel, remember."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import comfyui, comfyui_queue
from ..answers import Refused
from ..comfyui_queue import PromptState
from ..graph import GraphError, collect_outputs, executed_nodes
from ..graph.prompt import copy_json
from .binding import bind_values
from .captures import Capture
from .failures import failed_node, failure, refused_prompt
from .output_files import describe_outputs
from .run import Run
from .run_records import MAX_RECORDS, RunRecords

MAX_ACTIVE = 20
"""At most this many runs wait or work at once, over all playgrounds."""

_LOOK_SECONDS = 1.0
_MISSES = 3
"""A prompt that is neither queued nor in the history this many times in a row is gone."""


class Runs:
    """The runs of this process and the records of earlier ones. `changed(slug, run id)` is called on every change."""

    def __init__(self, folder: Callable[[str], Path], changed: Callable[[str, str], None]) -> None:
        self._folder = folder
        self._changed = changed
        self._live: dict[str, Run] = {}
        self._ended: dict[str, dict[str, dict[str, Any]]] = {}
        self._client_id = f"runflow-playground-{secrets.token_hex(8)}"
        self._saving = asyncio.Lock()

    async def open(self, slug: str) -> None:
        """Read the records of a workflow's earlier runs, once."""
        if slug not in self._ended:
            records = await asyncio.to_thread(RunRecords(self._folder(slug)).load)
            self._ended.setdefault(slug, {record["id"]: record for record in records})

    def list(self, slug: str) -> list[dict[str, Any]]:
        """The records of a workflow that was opened, oldest first."""
        live = [run.describe() for run in self._live.values() if run.slug == slug]
        return sorted([*self._ended.get(slug, {}).values(), *live], key=lambda record: record["number"])

    def find(self, run_id: str) -> dict[str, Any] | None:
        """The record of a run that was started or read."""
        if run_id in self._live:
            return self._live[run_id].describe()
        return next((records[run_id] for records in self._ended.values() if run_id in records), None)

    def preview(self, run_id: str) -> tuple[bytes, str] | None:
        """What the sampler shows of a run that works now, and its media type."""
        run = self._live.get(run_id)
        return run.preview if run else None

    async def start(self, capture: Capture, values: object, extra_data: dict[str, Any]) -> dict[str, Any]:
        """Put a capture with these values into ComfyUI's queue. Returns the run's record.

        `extra_data` goes to ComfyUI beside the prompt.

        Raises:
            Refused: the values do not fit, or too many runs are waiting.
        """
        await self.open(capture.slug)
        run_id = str(uuid.uuid4())
        prompt = await asyncio.to_thread(bind_values, capture, values, run_id[:8], comfyui.input_folder())
        if len(self._live) >= MAX_ACTIVE:
            message = f"{MAX_ACTIVE} runs are waiting or working. Wait for one to end, or cancel one."
            raise Refused(message, code="TOO_MANY_RUNS", status=429)
        number = max((record["number"] for record in self.list(capture.slug)), default=0) + 1
        run = Run(run_id, number, capture, dict(values) if isinstance(values, Mapping) else {})
        run.execute(prompt, executed_nodes(prompt, comfyui.Catalogue().is_output))
        self._live[run_id] = run
        run.task = asyncio.get_running_loop().create_task(self._watch(run, extra_data))
        self._tell(run)
        return run.describe()

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Stop exactly this run; one that has ended stays as it is. Returns its record.

        Raises:
            Refused: there is no such run.
        """
        run = self._live.get(run_id)
        if run is not None:
            run.cancelling = True
            run.hint.set()
            self._tell(run)
        record = self.find(run_id)
        if record is None:
            raise Refused("There is no such run (any more).", code="RUN_NOT_FOUND", status=404)
        return record

    async def _watch(self, run: Run, extra_data: dict[str, Any]) -> None:
        try:
            await self._save(run.describe())
            await self._run(run, extra_data)
        except Exception as fault:
            comfyui.LOG.exception("Runflow: a run of the playground could not be followed")
            message = f"{type(fault).__name__} in the plugin"
            run.fail(failure("INTERNAL", message, "ComfyUI's log says where."), "dispatch")
        record = run.describe()
        records = self._ended.setdefault(run.slug, {})
        records[run.id] = record
        for old in sorted(records.values(), key=lambda each: each["number"])[:-MAX_RECORDS]:
            del records[old["id"]]
        del self._live[run.id]
        self._changed(run.slug, run.id)
        await self._save(record)

    async def _run(self, run: Run, extra_data: dict[str, Any]) -> None:
        comfyui_queue.listen(self._client_id, self._on_event, self._on_preview)
        status, answer = await comfyui_queue.submit(copy_json(run.prompt), run.id, self._client_id, extra_data)
        if status != 200 or answer.get("node_errors"):
            # With one valid and one invalid output ComfyUI takes the valid part; half a result is no result.
            await comfyui_queue.stop(run.id)
            run.fail(refused_prompt(answer, run.prompt, run.captured_prompt), "dispatch")
            return
        missed = 0
        while missed < _MISSES:
            run.hint.clear()
            state = comfyui_queue.find(run.id)
            entry = comfyui_queue.history(run.id)  # after the queue: a prompt moves from there to here
            if entry is not None:
                await self._settle(run, entry)
                return
            missed = missed + 1 if state is PromptState.ABSENT else 0
            if run.cancelling:
                await comfyui_queue.stop(run.id)
            if state is PromptState.RUNNING:
                run.start()
            else:
                run.wait(self._in_the_way(run) if state is PromptState.PENDING else None)
            self._tell(run)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(run.hint.wait(), 0.1 if missed or run.cancelling else _LOOK_SECONDS)
        run.cancel()  # by us, or by whoever cleared ComfyUI's queue: it leaves no other trace

    def _in_the_way(self, run: Run) -> str:
        """What a run that ComfyUI has queued waits for."""
        ahead = next((other for other in self._live.values() if other.is_running), None)
        if ahead is None:
            return "ComfyUI works on something else."
        return f"ComfyUI works on run {ahead.number}{'' if ahead.slug == run.slug else f' of {ahead.slug}'} first."

    async def _settle(self, run: Run, entry: Mapping[str, Any]) -> None:
        status = entry.get("status") or {}
        messages = {str(message[0]): message[1] for message in status.get("messages") or ()}
        if "execution_interrupted" in messages:
            run.cancel()
        elif "execution_error" in messages:
            run.fail(failed_node(messages["execution_error"], run.prompt), "execute")
        elif status.get("status_str") == "error":
            run.fail(failure("EXECUTION_FAILED", "ComfyUI says no more", "Its log may."), "execute")
        else:
            try:
                files = collect_outputs(run.prompt, run.interface, entry.get("outputs"))
            except GraphError as error:
                problem = error.problems[0]
                where = {"node_id": problem.node_id, "node_type": problem.class_type, "title": problem.title}
                step = "Wire it in the editor, see that it saves a file there, and capture the workflow again."
                run.fail(failure("OUTPUT_MISSING", problem.message, step, **where), "collect")
                return
            run.succeed(await asyncio.to_thread(describe_outputs, files, comfyui.result_folders()))

    def _on_event(self, kind: str, data: Mapping[str, Any]) -> None:
        run = self._live.get(str(data.get("prompt_id")))
        if run is None:
            return
        if run.progress.update(kind, data):
            run.hint.set()
        if run.progress.started:
            run.start()
        self._tell(run)

    def _on_preview(self, picture: bytes, media_type: str) -> None:
        # It comes without a name. ComfyUI works on one prompt at a time, in the order in which they were sent.
        working = [run for run in self._live.values() if run.progress.started and not run.is_terminal]
        if working:
            working[-1].show(picture, media_type)
            self._tell(working[-1])

    def _tell(self, run: Run) -> None:
        self._changed(run.slug, run.id)

    async def _save(self, record: dict[str, Any]) -> None:
        async with self._saving:
            await asyncio.to_thread(RunRecords(self._folder(record["slug"])).save, record)

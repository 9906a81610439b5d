"""The client of one server with one API key, for programs that run on an event loop."""

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from runflow.client import downloads, event_stream, exchange, golden, models, pages, runs, sources, uploads, workflows
from runflow.client.async_driver import AsyncDriver
from runflow.client.connection import session_of, trusted
from runflow.client.models import ModelProgress
from runflow.client.records import Asset, Event, Model, Record, Run, Source, Workflow


class AsyncRunflow:
    """`Runflow` for asyncio: the same methods with the same arguments and errors, awaited.

    Iterations are `async for`. Functions that are told of progress may be coroutine functions. Files are read and
    written in threads.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 60,
        retry_seconds: float = 30,
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """See `Runflow`."""
        self._session = session_of(url, key, timeout, retry_seconds)
        self._driver = AsyncDriver(httpx.AsyncClient(verify=trusted(ca_file), transport=transport))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._driver.close()

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._session.url

    async def run(self, workflow: str, inputs: Mapping[str, Any], *, timeout: float = 1800, **fields: Any) -> Run:
        """See `Runflow.run`."""
        return await self._driver.follow(runs.run(self._session, workflow, inputs, timeout=timeout, **fields))

    async def submit(
        self,
        workflow: str,
        inputs: Mapping[str, Any],
        *,
        wait: float = 0,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Run:
        """See `Runflow.submit`."""
        options = {"wait": wait, "idempotency_key": idempotency_key, **fields}
        return await self._driver.follow(runs.submit(self._session, workflow, inputs, **options))

    async def subscribe(
        self,
        workflow: str,
        inputs: Mapping[str, Any],
        *,
        on_event: Callable[[Event], Any] | None = None,
        on_submit: Callable[[Run], Any] | None = None,
        timeout: float = 1800,
        **fields: Any,
    ) -> Run:
        """See `Runflow.subscribe`."""
        told: dict[str, Any] = {"on_event": on_event, "on_submit": on_submit, "timeout": timeout}
        return await self._driver.follow(runs.subscribe(self._session, workflow, inputs, **told, **fields))

    def events(
        self, run: str | Mapping[str, Any], *, last_event_id: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[Event]:
        """See `Runflow.events`."""
        return self._driver.iterate(event_stream.follow(self._session, runs.id_of(run), last_event_id, timeout))

    async def wait(
        self,
        run: str | Mapping[str, Any],
        *,
        timeout: float = 1800,
        progress: Callable[[Run], Any] | None = None,
    ) -> Run:
        """See `Runflow.wait`."""
        return await self._driver.follow(runs.wait(self._session, run, timeout=timeout, progress=progress))

    async def get_run(self, run: str | Mapping[str, Any], *, wait: float = 0, **query: Any) -> Run:
        """See `Runflow.get_run`."""
        return await self._driver.follow(runs.read(self._session, run, wait=wait, **query))

    def runs(self, workflow: str | None = None, *, limit: int | None = None, **query: Any) -> AsyncIterator[Run]:
        """See `Runflow.runs`."""
        path = "/v1/runs" if workflow is None else runs.workflow_path(workflow) + "/runs"
        return self._driver.iterate(pages.each(self._session, path, Run, limit=limit, **query))

    async def cancel(self, run: str | Mapping[str, Any], *, reason: str | None = None) -> Run:
        """See `Runflow.cancel`."""
        return await self._driver.follow(runs.cancel(self._session, run, reason=reason))

    async def rerun(self, run: str | Mapping[str, Any], *, idempotency_key: str | None = None, **fields: Any) -> Run:
        """See `Runflow.rerun`."""
        return await self._driver.follow(runs.rerun(self._session, run, idempotency_key=idempotency_key, **fields))

    async def deploy(self, slug: str, prompt: Any, **fields: Any) -> Workflow:
        """See `Runflow.deploy`."""
        return await self._driver.follow(workflows.deploy(self._session, slug, prompt, **fields))

    async def get_workflow(self, workflow: str, **query: Any) -> Workflow:
        """See `Runflow.get_workflow`."""
        return await self._driver.follow(workflows.read(self._session, workflow, **query))

    async def prebuild(self, workflow: str | Mapping[str, Any], version: str | int | None = None) -> Record:
        """See `Runflow.prebuild`."""
        return await self._driver.follow(workflows.prebuild(self._session, workflow, version))

    async def runtime(self, workflow: str | Mapping[str, Any]) -> Record:
        """See `Runflow.runtime`."""
        return await self._driver.follow(workflows.runtime(self._session, workflow))

    async def keep_example(
        self,
        workflow: str | Mapping[str, Any],
        name: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run: str | Mapping[str, Any] | None = None,
        evaluate: bool = False,
        version: str | int | None = None,
    ) -> Record:
        """See `Runflow.keep_example`."""
        plan = golden.keep(self._session, workflow, name, inputs, run=run, evaluate=evaluate, version=version)
        return await self._driver.follow(plan)

    def examples(
        self, workflow: str | Mapping[str, Any], *, limit: int | None = None, **query: Any
    ) -> AsyncIterator[Record]:
        """See `Runflow.examples`."""
        return self._driver.iterate(golden.examples(self._session, workflow, limit=limit, **query))

    async def delete_example(self, workflow: str | Mapping[str, Any], name: str) -> None:
        """See `Runflow.delete_example`."""
        return await self._driver.follow(golden.forget(self._session, workflow, name))

    async def golden_run(self, workflow: str | Mapping[str, Any], golden_run: str | Mapping[str, Any]) -> Record:
        """See `Runflow.golden_run`."""
        return await self._driver.follow(golden.read(self._session, workflow, golden_run))

    def workflows(self, *, limit: int | None = None, **query: Any) -> AsyncIterator[Workflow]:
        """See `Runflow.workflows`."""
        return self._driver.iterate(pages.each(self._session, workflows.WORKFLOWS, Workflow, limit=limit, **query))

    async def upload(self, file: Any) -> str:
        """See `Runflow.upload`."""
        return await self._driver.follow(uploads.upload(self._session, file))

    def assets(self, *, limit: int | None = None, **query: Any) -> AsyncIterator[Asset]:
        """See `Runflow.assets`."""
        return self._driver.iterate(pages.each(self._session, "/v1/assets", Asset, limit=limit, **query))

    def models(self, *, limit: int | None = None, **query: Any) -> AsyncIterator[Model]:
        """See `Runflow.models`."""
        return self._driver.iterate(pages.each(self._session, models.MODELS, Model, limit=limit, **query))

    async def upload_model(self, path: str | Path, *, progress: Callable[[ModelProgress], Any] | None = None) -> Model:
        """See `Runflow.upload_model`."""
        return await self._driver.follow(models.upload(self._session, Path(path), progress))

    async def delete_model(self, model: str | Mapping[str, Any], *, force: bool = False) -> None:
        """See `Runflow.delete_model`."""
        return await self._driver.follow(models.delete(self._session, model, force=force))

    def sources(self, *, limit: int | None = None, **query: Any) -> AsyncIterator[Source]:
        """See `Runflow.sources`."""
        return self._driver.iterate(pages.each(self._session, sources.SOURCES, Source, limit=limit, **query))

    async def approve_source(self, source: str | Mapping[str, Any]) -> Source:
        """See `Runflow.approve_source`."""
        return await self._driver.follow(sources.decide(self._session, source, "approve"))

    async def revoke_source(self, source: str | Mapping[str, Any]) -> Source:
        """See `Runflow.revoke_source`."""
        return await self._driver.follow(sources.decide(self._session, source, "revoke"))

    async def download(self, output: Mapping[str, Any], path: str | Path) -> Path:
        """See `Runflow.download`."""
        return await self._driver.follow(downloads.download(self._session, output, Path(path)))

    async def save_outputs(self, run: str | Mapping[str, Any], folder: str | Path = ".") -> list[Path]:
        """See `Runflow.save_outputs`."""
        return await self._driver.follow(downloads.save_outputs(self._session, run, Path(folder)))

    async def request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, **options: Any
    ) -> Any:
        """See `Runflow.request`."""
        return await self._driver.follow(
            exchange.json_of(self._session, method, path, params=params, body=body, **options)
        )

    def each(self, path: str, *, limit: int | None = None, **query: Any) -> AsyncIterator[Record]:
        """See `Runflow.each`."""
        return self._driver.iterate(pages.each(self._session, path, Record, limit=limit, **query))

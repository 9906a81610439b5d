"""The client of one server with one API key."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from runflow.client import downloads, event_stream, exchange, golden, models, pages, runs, sources, uploads, workflows
from runflow.client.connection import session_of, trusted
from runflow.client.driver import Driver
from runflow.client.models import ModelProgress
from runflow.client.records import Asset, Event, Model, Record, Run, Source, Workflow


class Runflow:
    """Deploy workflows, run them with files as inputs, follow the runs, and fetch what they made.

    Every method raises `ApiError` when the server refuses, of the family that fits (`InvalidRequest`, `NotFound`, …),
    and `RunflowUnreachable` when there is none. What passes by itself, a broken connection, 429, 502, 503 and 504, is
    tried again first; every POST carries an `Idempotency-Key`, the same at each try, so nothing happens twice.
    `AsyncRunflow` is the same with `await`.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 60,
        retry_seconds: float = 30,
        ca_file: Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url` is the server's address; default: RUNFLOW_URL, the saved login, or http://127.0.0.1:8700.

        `key`: default RUNFLOW_API_KEY, or the saved login's for this server. `timeout`, in seconds, for an answer;
        `retry_seconds`: how long a request is tried again. `ca_file` names certificates to trust beside the public
        authorities (default RUNFLOW_CA_FILE). `transport` replaces the network, in tests. Raises `NotConfigured`,
        `CertificateUnusable`.
        """
        self._session = session_of(url, key, timeout, retry_seconds)
        self._driver = Driver(httpx.Client(verify=trusted(ca_file), transport=transport))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._driver.close()

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._session.url

    def run(self, workflow: str, inputs: Mapping[str, Any], *, timeout: float = 1800, **fields: Any) -> Run:
        """Run `owner/slug` and return the run that has succeeded; `fields` as of `submit`.

        Raises `RunFailed`, `RunCancelled`, `RunTimeout` after `timeout` seconds, and what `submit` raises.
        """
        return self._driver.follow(runs.run(self._session, workflow, inputs, timeout=timeout, **fields))

    def submit(
        self,
        workflow: str,
        inputs: Mapping[str, Any],
        *,
        wait: float = 0,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Run:
        """Queue a run of `owner/slug` and return it, with `wait` when it has ended or after so many seconds.

        Paths, bytes and files opened with mode "rb" among the inputs are uploaded. `fields`: `callback_url`,
        `client_ref`, `metadata`, `version`, `priority`, … as in the API. Raises ValueError for a workflow that is not
        named so, OSError for a file that cannot be read.
        """
        options = {"wait": wait, "idempotency_key": idempotency_key, **fields}
        return self._driver.follow(runs.submit(self._session, workflow, inputs, **options))

    def subscribe(
        self,
        workflow: str,
        inputs: Mapping[str, Any],
        *,
        on_event: Callable[[Event], Any] | None = None,
        on_submit: Callable[[Run], Any] | None = None,
        timeout: float = 1800,
        **fields: Any,
    ) -> Run:
        """Run `owner/slug` and return the run that has succeeded; `on_event` gets each event on the way.

        `on_submit` gets the queued run, once. Fields and errors as of `run`.
        """
        told: dict[str, Any] = {"on_event": on_event, "on_submit": on_submit, "timeout": timeout}
        return self._driver.follow(runs.subscribe(self._session, workflow, inputs, **told, **fields))

    def events(
        self, run: str | Mapping[str, Any], *, last_event_id: str | None = None, timeout: float | None = None
    ) -> Iterator[Event]:
        """Yield the events of a run until it has ended, from behind `last_event_id` on; through broken connections.

        Raises `RunTimeout` after `timeout` seconds, if it is given: at most 15 s later, as the server then speaks.
        """
        return self._driver.iterate(event_stream.follow(self._session, runs.id_of(run), last_event_id, timeout))

    def wait(
        self,
        run: str | Mapping[str, Any],
        *,
        timeout: float = 1800,
        progress: Callable[[Run], Any] | None = None,
    ) -> Run:
        """Wait for the end of a run and return it; `progress` gets its record once a second.

        Raises `RunFailed`, `RunCancelled`, and `RunTimeout` after `timeout` seconds.
        """
        return self._driver.follow(runs.wait(self._session, run, timeout=timeout, progress=progress))

    def get_run(self, run: str | Mapping[str, Any], *, wait: float = 0, **query: Any) -> Run:
        """Return a run, as soon as it has ended or after `wait` seconds (at most 60); `query`: `fields`, `embed`."""
        return self._driver.follow(runs.read(self._session, run, wait=wait, **query))

    def runs(self, workflow: str | None = None, *, limit: int | None = None, **query: Any) -> Iterator[Run]:
        """Yield runs, newest first, all or those of `owner/slug`; at most `limit`; `query`: `q`, `sort_by`, …"""
        path = "/v1/runs" if workflow is None else runs.workflow_path(workflow) + "/runs"
        return self._driver.iterate(pages.each(self._session, path, Run, limit=limit, **query))

    def cancel(self, run: str | Mapping[str, Any], *, reason: str | None = None) -> Run:
        """Cancel a run, queued or running, and return its record; a run that has ended stays as it is."""
        return self._driver.follow(runs.cancel(self._session, run, reason=reason))

    def rerun(self, run: str | Mapping[str, Any], *, idempotency_key: str | None = None, **fields: Any) -> Run:
        """Queue a run of the same input and return it; `fields`: `version="pinned"`, `client_ref`, … as in the API."""
        return self._driver.follow(runs.rerun(self._session, run, idempotency_key=idempotency_key, **fields))

    def deploy(self, slug: str, prompt: Any, **fields: Any) -> Workflow:
        """Create the workflow `slug`, or give it a new version when it exists; return its record.

        `prompt` is what *Export (API)* saves. `fields`: `name`, `graph`, `models`, `inputs`, … as in the API.
        """
        return self._driver.follow(workflows.deploy(self._session, slug, prompt, **fields))

    def get_workflow(self, workflow: str, **query: Any) -> Workflow:
        """Return a workflow by `owner/slug` or by its id, with its inputs and outputs."""
        return self._driver.follow(workflows.read(self._session, workflow, **query))

    def prebuild(self, workflow: str | Mapping[str, Any], version: str | int | None = None) -> Record:
        """Have a worker prepare a version (default: the current one) before a run needs it; return how far that is.

        `workflow`: a record, an id, or `owner/slug`. Asked again, it begins anew, also after a failure.
        """
        return self._driver.follow(workflows.prebuild(self._session, workflow, version))

    def runtime(self, workflow: str | Mapping[str, Any]) -> Record:
        """Return which workers can run a workflow, what the others lack, and how far its `prebuild` is."""
        return self._driver.follow(workflows.runtime(self._session, workflow))

    def keep_example(
        self,
        workflow: str | Mapping[str, Any],
        name: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run: str | Mapping[str, Any] | None = None,
        evaluate: bool = False,
        version: str | int | None = None,
    ) -> Record:
        """Keep inputs, or those of a run, as an example that new versions are tested with; return its record.

        `version`: check them against this one instead of the current one. Files are uploaded, as of `run`.
        """
        plan = golden.keep(self._session, workflow, name, inputs, run=run, evaluate=evaluate, version=version)
        return self._driver.follow(plan)

    def examples(
        self, workflow: str | Mapping[str, Any], *, limit: int | None = None, **query: Any
    ) -> Iterator[Record]:
        """Yield the examples that a workflow keeps, by name; at most `limit`; `query` as of `runs`."""
        return self._driver.iterate(golden.examples(self._session, workflow, limit=limit, **query))

    def delete_example(self, workflow: str | Mapping[str, Any], name: str) -> None:
        """Delete an example of a workflow; doing it again changes nothing."""
        return self._driver.follow(golden.forget(self._session, workflow, name))

    def golden_run(self, workflow: str | Mapping[str, Any], golden_run: str | Mapping[str, Any]) -> Record:
        """Return a golden run, given by its record or id, with what became of each example."""
        return self._driver.follow(golden.read(self._session, workflow, golden_run))

    def workflows(self, *, limit: int | None = None, **query: Any) -> Iterator[Workflow]:
        """Yield the workflows of the organization, newest first; at most `limit`; `query` as of `runs`, and `embed`."""
        return self._driver.iterate(pages.each(self._session, workflows.WORKFLOWS, Workflow, limit=limit, **query))

    def upload(self, file: Any) -> str:
        """Upload a path, bytes, an open file or a `File`; return its reference `runflow://assets/{uuid}`.

        The same bytes are uploaded once per client. Raises OSError for a file that cannot be read.
        """
        return self._driver.follow(uploads.upload(self._session, file))

    def assets(self, *, limit: int | None = None, **query: Any) -> Iterator[Asset]:
        """Yield the files of the organization, newest first; at most `limit`; `query` as of `runs`, and `embed`."""
        return self._driver.iterate(pages.each(self._session, "/v1/assets", Asset, limit=limit, **query))

    def models(self, *, limit: int | None = None, **query: Any) -> Iterator[Model]:
        """Yield the model files of the organization, newest first; at most `limit`; `query`: `embed`, …"""
        return self._driver.iterate(pages.each(self._session, models.MODELS, Model, limit=limit, **query))

    def upload_model(self, path: str | Path, *, progress: Callable[[ModelProgress], Any] | None = None) -> Model:
        """Upload a model file, unless the server has this content, and return its record.

        A broken upload goes on where it stopped. `progress` is told of hashing, sending and checking. Raises OSError
        for a file that cannot be read.
        """
        return self._driver.follow(models.upload(self._session, Path(path), progress))

    def delete_model(self, model: str | Mapping[str, Any], *, force: bool = False) -> None:
        """Delete a model with its bytes. Raises `Conflict` while a workflow uses it, unless `force`."""
        return self._driver.follow(models.delete(self._session, model, force=force))

    def sources(self, *, limit: int | None = None, **query: Any) -> Iterator[Source]:
        """Yield the installation's sources, newest first; at most `limit`; `query` as of `runs`. For the operator."""
        return self._driver.iterate(pages.each(self._session, sources.SOURCES, Source, limit=limit, **query))

    def approve_source(self, source: str | Mapping[str, Any]) -> Source:
        """Let workers build a source, given by its record or id, and return its record."""
        return self._driver.follow(sources.decide(self._session, source, "approve"))

    def revoke_source(self, source: str | Mapping[str, Any]) -> Source:
        """Let nothing be built of a source any more, and return its record."""
        return self._driver.follow(sources.decide(self._session, source, "revoke"))

    def download(self, output: Mapping[str, Any], path: str | Path) -> Path:
        """Save one of a run's `outputs` to `path` and return it. Raises `DownloadFailed`, OSError."""
        return self._driver.follow(downloads.download(self._session, output, Path(path)))

    def save_outputs(self, run: str | Mapping[str, Any], folder: str | Path = ".") -> list[Path]:
        """Save every output of a run into a folder, replacing nothing, and return the paths. Raises as `download`."""
        return self._driver.follow(downloads.save_outputs(self._session, run, Path(folder)))

    def request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, **options: Any
    ) -> Any:
        """Return the JSON of any route's answer, such as `GET /v1/usage`; with retries and errors as everywhere."""
        return self._driver.follow(exchange.json_of(self._session, method, path, params=params, body=body, **options))

    def each(self, path: str, *, limit: int | None = None, **query: Any) -> Iterator[Record]:
        """Yield the items of any list, such as `/v1/webhooks`, from all its pages; at most `limit`."""
        return self._driver.iterate(pages.each(self._session, path, Record, limit=limit, **query))

"""A client of one server with one API key."""

import mimetypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from runflow.client.errors import ApiError, RunFailed, RunflowUnreachable
from runflow.tls import next_step, trusting

POLL_SECONDS = 20
"""How long one request for a running run waits on the server."""


class Runflow:
    """Deploy workflows, upload files, dispatch runs and fetch what they made.

    Every method raises `ApiError` when the server refuses, `RunflowUnreachable` when there is none.
    """

    def __init__(self, url: str, key: str, *, timeout: float = 60, ca_file: Path | None = None) -> None:
        """`url` is the server's address without `/v1`; `timeout` in seconds.

        `ca_file` names certificates to trust beside the public authorities. Raises `CertificateUnusable`.
        """
        self._trusted = trusting(httpx.create_ssl_context(), ca_file)
        self._http = httpx.Client(
            base_url=url.rstrip("/"), headers={"Authorization": f"Bearer {key}"}, timeout=timeout, verify=self._trusted
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def deploy(self, slug: str, prompt: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Create the workflow `slug`, or give it a new version when it exists; return its record.

        `fields`: `name`, `graph`, `environment`, `models`, `custom_nodes`, `resources`, … as in the API.
        """
        query = {"q": f"slug.eq:'{slug}'", "limit": 1}
        found = self._json("GET", "/v1/comfyui-workflows", params=query)["items"]
        body = {**fields, "workflow_json": prompt}
        if found:
            # What is not given stays, the name that people gave it included.
            return self._json("PATCH", f"/v1/comfyui-workflows/{found[0]['id']}", json=body)
        return self._json("POST", "/v1/comfyui-workflows", json={"name": slug, **body, "slug": slug})

    def upload(self, path: Path, mime_type: str | None = None) -> str:
        """Upload a file and return its reference `runflow://assets/{uuid}`."""
        mime = mime_type or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        body = {"filename": path.name, "mime_type": mime, "size_bytes": path.stat().st_size}
        session = self._json("POST", "/v1/asset-uploads", json=body)
        with path.open("rb") as file:
            headers = {"Content-Type": mime, "Content-Length": str(body["size_bytes"])}
            with _reaching(session["upload_url"]):
                answer = httpx.put(
                    session["upload_url"], content=file, headers=headers, timeout=300, verify=self._trusted
                )
        if answer.is_error:
            raise ApiError(answer)
        asset = self._json("POST", f"/v1/asset-uploads/{session['asset_id']}/confirmations", json={})
        return f"runflow://assets/{asset['id']}"

    def call(self, workflow: str, inputs: dict[str, Any], *, timeout: float = 1800, **fields: Any) -> dict[str, Any]:
        """Run `owner/slug` and return the ended run: one request for what is done within 20 seconds.

        `fields` as of `dispatch`; raises what `dispatch` and `wait` raise.
        """
        began = time.monotonic()
        run = self.dispatch(workflow, inputs, wait=min(timeout, POLL_SECONDS), **fields)
        if run["is_terminal"]:
            return _succeeded(run)
        return self.wait(run["id"], timeout=timeout - (time.monotonic() - began))

    def dispatch(self, workflow: str, inputs: dict[str, Any], *, wait: float = 0, **fields: Any) -> dict[str, Any]:
        """Queue a run of `owner/slug` and return its record, with `wait` when it has ended or after so many seconds.

        `fields`: `callback_url`, `client_ref`, `metadata`. Raises ValueError for a workflow that is not named so.
        """
        owner, _, slug = workflow.partition("/")
        if not owner or not slug:
            raise ValueError(
                f"{workflow!r} is no path of a workflow, such as default/portrait: see `path` of its record."
            )
        path = f"/v1/comfyui-workflows/{quote(owner, safe='')}/{quote(slug, safe='')}/runs"
        return self._json("POST", path, params={"wait": wait} if wait else None, json={"input": inputs, **fields})

    def run(self, run_id: str, *, wait: float = 0) -> dict[str, Any]:
        """Return a run, as soon as it has ended or after `wait` seconds (at most 60)."""
        return self._json("GET", f"/v1/runs/{run_id}", params={"wait": wait} if wait else None)

    def wait(
        self, run_id: str, *, timeout: float = 1800, progress: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Wait until a run has ended and return it; `progress` gets its record once a second.

        Raises `RunFailed` unless it succeeded, `TimeoutError` after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.run(run_id, wait=1 if progress else POLL_SECONDS)
            if progress is not None:
                progress(found)
            if found["is_terminal"]:
                return _succeeded(found)
        raise TimeoutError(f"The run {run_id} had not ended after {timeout:.0f} s.")

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Cancel a run, queued or running, and return its record; a run that has ended stays as it is."""
        return self._json("POST", f"/v1/runs/{run_id}/cancellation")

    def download(self, output: dict[str, Any], path: Path) -> Path:
        """Save one element of `output.outputs` to `path` and return it."""
        partial = path.with_name(path.name + ".part")
        with (
            _reaching(output["url"]),
            httpx.stream("GET", output["url"], timeout=300, verify=self._trusted) as answer,
        ):
            if answer.is_error:
                answer.read()
                raise ApiError(answer)
            with partial.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)
        return partial.replace(path)

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        with _reaching(str(self._http.base_url)):
            answer = self._http.request(method, path, **options)
        if answer.is_error:
            raise ApiError(answer)
        found: dict[str, Any] = answer.json()
        return found


def _succeeded(run: dict[str, Any]) -> dict[str, Any]:
    if run["status_code"] != "succeeded":
        raise RunFailed(run)
    return run


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Say where nobody answered; files may lie elsewhere than the server. Signatures and passwords are not said."""
    try:
        yield
    except httpx.TransportError as error:
        parts = urlsplit(url)
        where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        raise RunflowUnreachable(f"Nothing answers at {where}: {error}.{next_step(error)}") from error

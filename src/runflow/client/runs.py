"""Runs: dispatch, wait, follow, cancel, repeat."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from runflow.client.effects import Plan, Tell, told
from runflow.client.errors import InvalidRequest, RunTimeout, run_error
from runflow.client.event_stream import follow
from runflow.client.exchange import Session, json_of
from runflow.client.records import Run
from runflow.client.uploads import forget, prepare

POLL_SECONDS = 20.0
"""How long one request for a running run waits on the server: below what proxies end."""

Told = Callable[[Any], Any]


def id_of(run: "str | Mapping[str, Any]") -> str:
    """Return the id of a run that is given by its id or its record."""
    return run if isinstance(run, str) else str(run["id"])


def workflow_path(workflow: str) -> str:
    """Return the address of `owner/slug`. Raises ValueError for a workflow that is not named so."""
    owner, _, slug = workflow.partition("/")
    if not owner or not slug:
        raise ValueError(f"{workflow!r} is no path of a workflow, such as default/portrait: see `path` of its record.")
    return f"/v1/comfyui-workflows/{quote(owner, safe='')}/{quote(slug, safe='')}"


def submit(
    session: Session,
    workflow: str,
    inputs: Mapping[str, Any],
    *,
    wait: float = 0,
    idempotency_key: str | None = None,
    **fields: Any,
) -> Plan[Run]:
    """Upload the files among the inputs, queue a run and return its record."""
    path = workflow_path(workflow) + "/runs"
    # Not in the address: the same Idempotency-Key at another address is another request, and another wait is not.
    headers = {"Prefer": f"wait={math.ceil(wait)}"} if wait else None
    prepared = yield from prepare(session, inputs)
    options = {"headers": headers, "idempotency_key": idempotency_key, "extra_seconds": wait}
    try:
        record = yield from json_of(session, "POST", path, body={"input": prepared.values, **fields}, **options)
    except InvalidRequest as error:
        if not prepared.outdated(error):
            raise
        # Somebody deleted what this client had uploaded earlier. A refusal made no run, so the key is still free.
        forget(session, prepared)
        prepared = yield from prepare(session, inputs)
        record = yield from json_of(session, "POST", path, body={"input": prepared.values, **fields}, **options)
    return Run(record)


def run(
    session: Session, workflow: str, inputs: Mapping[str, Any], *, timeout: float = 1800, **options: Any
) -> Plan[Run]:
    """Run a workflow to its end: one request for what is done within 20 seconds."""
    began = time.monotonic()
    found = yield from submit(session, workflow, inputs, wait=min(timeout, POLL_SECONDS), **options)
    if found.is_terminal:
        return succeeded(found)
    left = timeout - (time.monotonic() - began)
    return (yield from wait(session, found.id, timeout=left, given_up_after=timeout))


def wait(
    session: Session,
    given: "str | Mapping[str, Any]",
    *,
    timeout: float = 1800,
    progress: Told | None = None,
    given_up_after: float | None = None,
) -> Plan[Run]:
    """Wait for the end of a run. `given_up_after`: what the error says of the time, if that is more than `timeout`."""
    run_id = id_of(given)
    deadline = time.monotonic() + timeout
    longest = 1.0 if progress else POLL_SECONDS
    while True:
        left = deadline - time.monotonic()
        found = yield from read(session, run_id, wait=max(0.0, min(longest, left)))
        if progress is not None:
            yield Tell(progress, found)
        if found.is_terminal:
            return succeeded(found)
        if left <= 0:
            raise RunTimeout(run_id, given_up_after or timeout)


def subscribe(
    session: Session,
    workflow: str,
    inputs: Mapping[str, Any],
    *,
    on_event: Told | None = None,
    on_submit: Told | None = None,
    timeout: float = 1800,
    **options: Any,
) -> Plan[Run]:
    """Run a workflow to its end, telling of every event on the way."""
    queued = yield from submit(session, workflow, inputs, **options)
    if on_submit is not None:
        yield Tell(on_submit, queued)
    yield from told(follow(session, queued.id, timeout=timeout), on_event)
    return succeeded((yield from read(session, queued.id)))


def read(session: Session, given: "str | Mapping[str, Any]", *, wait: float = 0, **query: Any) -> Plan[Run]:
    """Return a run, with `wait` as soon as it has ended or after so many seconds."""
    query = query | ({"wait": _number(wait)} if wait else {})
    path = f"/v1/runs/{id_of(given)}"
    return Run((yield from json_of(session, "GET", path, params=query, extra_seconds=wait)))


def cancel(session: Session, given: "str | Mapping[str, Any]", *, reason: str | None = None) -> Plan[Run]:
    """Cancel a run and return its record."""
    body = None if reason is None else {"reason": reason}
    return Run((yield from json_of(session, "POST", f"/v1/runs/{id_of(given)}/cancellation", body=body)))


def rerun(
    session: Session, given: "str | Mapping[str, Any]", *, idempotency_key: str | None = None, **fields: Any
) -> Plan[Run]:
    """Queue a run of the same input and return its record."""
    path = f"/v1/runs/{id_of(given)}/reruns"
    return Run((yield from json_of(session, "POST", path, body=fields, idempotency_key=idempotency_key)))


def succeeded(run: Run) -> Run:
    """Return a run that succeeded. Raises `RunFailed`."""
    if run.status_code != "succeeded":
        raise run_error(run)
    return run


def _number(seconds: float) -> str:
    """Write a number of seconds: whole ones without a fraction."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")

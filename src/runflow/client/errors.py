"""What can go wrong between a client and a server: one class per family, all of them `RunflowError`."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from runflow.client.records import Record, Run, required


class RunflowError(Exception):
    """Whatever the client raises by itself."""


class NotConfigured(RunflowError):
    """The client was told of no API key, or of no usable one; the message says where it looks for it."""


class RunflowUnreachable(RunflowError):
    """No server answers at this address. Is it running, and is the address right?"""

    def __init__(self, message: str, *, connected: bool = True, permanent: bool = False) -> None:
        """`connected`: the connection was there and broke; `permanent`: the next try would end in the same way."""
        super().__init__(message)
        self.connected = connected
        self.permanent = permanent


class FieldError(Record):
    """One part of a request that the server does not accept: `loc` is the way to it, `type` the kind of fault."""

    loc = required[list[Any]]()
    msg = required[str]()
    type = required[str]()


class ApiError(RunflowError):
    """The server refused a request; `code` is stable, `message` says what to do next."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Read the error envelope, or make do with the status of a proxy's answer. Header names are lower case."""
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        envelope: dict[str, Any] = found if isinstance(found, dict) else {}
        self.status = status
        self.code: str = envelope.get("code") or f"HTTP_{status}"
        self.message: str = envelope.get("message") or _phrase(status)
        self.errors = [FieldError(one) for one in envelope.get("errors") or []]
        self.request_id = headers.get("runflow-request-id")
        self.retry_after = _seconds(headers.get("retry-after"))
        super().__init__(f"{self.code}: {self.message}")

    @property
    def is_momentary(self) -> bool:
        """Whether the same request may be accepted in a while."""
        if self.status == HTTPStatus.CONFLICT:  # the first request with this Idempotency-Key still runs
            return self.retry_after is not None
        return self.status in _MOMENTARY


class InvalidRequest(ApiError):
    """The request cannot be accepted as it is (400, 405, 413, 415, 422): `errors` names each faulty part."""


class Unauthorized(ApiError):
    """The API key is missing, unknown, expired or revoked (401)."""


class BudgetUsedUp(ApiError):
    """What the organization may spend is spent (402)."""


class PermissionDenied(ApiError):
    """The API key may not do this (403)."""


class NotFound(ApiError):
    """There is no such thing in the key's organization (404)."""


class Conflict(ApiError):
    """It is there already, was changed meanwhile, or is switched off (409)."""


class RateLimited(ApiError):
    """There were too many requests (429); `retry_after` is in seconds."""


class ServerFault(ApiError):
    """The server failed (5xx); `request_id` finds the reason in its log."""


class Unavailable(ServerFault):
    """The server, or what it needs, cannot be used right now (502, 503, 504)."""


class RunFailed(RunflowError):
    """A run ended as `failed`; `run` is its record, `code` its failure code."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        """Say what the run says."""
        self.run = Run(run)
        self.code = self.run.failure_code
        super().__init__(self.run.failure_message or f"The run ended as {self.run.status_code}.")


class RunCancelled(RunFailed):
    """A run was cancelled; `run` is its record."""


class RunTimeout(RunflowError, TimeoutError):
    """A run had not ended in the time that the caller gave it. It goes on: `run_id` names it."""

    def __init__(self, run_id: str, seconds: float) -> None:
        """`seconds` is how long the caller waited."""
        super().__init__(
            f"The run {run_id} had not ended after {seconds:.0f} s. It goes on; wait for it, or cancel it."
        )
        self.run_id = run_id


class DownloadFailed(RunflowError):
    """A file that arrived is not the one that the record describes."""


class SignatureMismatch(RunflowError, ValueError):
    """A message is not signed by its server, or is too old; the message says what does not fit."""


_MOMENTARY = frozenset({429, 502, 503, 504})
_FAMILIES: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    402: BudgetUsedUp,
    403: PermissionDenied,
    404: NotFound,
    405: InvalidRequest,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def api_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Return the error of a refusal, of the family that its status tells. Header names are lower case."""
    family = _FAMILIES.get(status) or (ServerFault if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ApiError)
    return family(status, headers, body)


def run_error(run: Run) -> RunFailed:
    """Return the error of a run that has ended otherwise than well."""
    return (RunCancelled if run.status_code == "cancelled" else RunFailed)(run)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP status {status}"


def _seconds(text: str | None) -> float | None:
    """Read `Retry-After`; a date, which no server of ours sends, counts as none."""
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None

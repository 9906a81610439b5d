"""Requests to the API and what to make of their answers: keys, Idempotency-Keys, repetitions, errors."""

import json
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from runflow.client.credentials import shown
from runflow.client.effects import Answer, Pause, Plan, Request, send
from runflow.client.errors import ApiError, RunflowError, RunflowUnreachable, api_error

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds before the first repetition; each pause doubles."""
FIRST_CONTACT_SECONDS = 2.0
"""How long a client tries to connect to an address that has never answered it: it is probably wrong."""


@dataclass
class Session:
    """What one client knows: its server and key, its patience in seconds, and what it has uploaded."""

    url: str
    key: str = field(repr=False)
    timeout: float = 60.0
    retry_seconds: float = 30.0
    reached: bool = False
    """Whether the server was ever there."""
    references: dict[str, str] = field(default_factory=dict)
    """References of uploaded files, by their SHA-256 and type."""


class Patience:
    """Decides whether a request is repeated, and after what pause.

    It begins with the first failure: how long a server took to answer before, as it waited for a run, uses up none.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._began = monotonic()
        self._failed: float | None = None
        self._pause = FIRST_PAUSE

    def renew(self) -> None:
        """Begin anew, as something was achieved."""
        self._failed, self._pause = None, FIRST_PAUSE

    def heard(self) -> None:
        """Count the next failure as the first one, as the server is there; pauses go on growing."""
        self._failed = None

    def pause(self, error: RunflowError) -> float:
        """Return the seconds to wait before the next try. Raises the error when there is none."""
        now = monotonic()
        if self._failed is None:
            self._failed = now
        ends = self._failed + self._session.retry_seconds
        asked = 0.0
        if isinstance(error, RunflowUnreachable):
            if error.permanent:
                raise error
            self._session.reached = self._session.reached or error.connected
            if not self._session.reached:
                ends = min(ends, self._began + FIRST_CONTACT_SECONDS)
        elif isinstance(error, ApiError) and error.is_momentary:
            asked = error.retry_after or 0.0
        else:
            raise error
        pause = max(asked, self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that clients do not come together
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        if now + pause > ends:
            raise error
        return pause


def build(
    session: Session,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    body: Any = None,
    idempotency_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    extra_seconds: float = 0,
) -> Request:
    """Return a request to the API. A POST gets an `Idempotency-Key`, however often it is sent then.

    `extra_seconds`: how long the server may take beside what any answer takes.
    """
    sent = {"Authorization": f"Bearer {session.key}", "Accept": "application/json", **(headers or {})}
    if body is not None:
        sent["Content-Type"] = "application/json"
    if method == "POST":
        sent["Idempotency-Key"] = idempotency_key or str(uuid.uuid4())
    return Request(
        method,
        session.url + path,
        sent,
        {name: _query(value) for name, value in (params or {}).items() if value is not None},
        None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode(),
        timeout=session.timeout + extra_seconds,
    )


def exchange(session: Session, request: Request) -> Plan[Answer]:
    """Send a request until it is answered for good, and return an answer below 300.

    A broken connection, 429, 502, 503 and 504, and a 409 that tells when to come back, are tried again for
    `retry_seconds`. Raises `ApiError`, `RunflowUnreachable`.
    """
    patience = Patience(session)
    while True:
        try:
            return checked(session, (yield from send(request)))
        except RunflowError as error:
            yield Pause(patience.pause(error))


def checked(session: Session, answer: Answer) -> Answer:
    """Return an answer below 300. Raises `ApiError`, and `RunflowUnreachable` for one that leads elsewhere."""
    session.reached = True
    if answer.status >= 400:
        raise api_error(answer.status, answer.headers, answer.body)
    if answer.status >= 300:  # not followed: what is sent, the key above all, is for the address that was given
        there = urlsplit(answer.headers.get("location", ""))
        where = shown(f"{there.scheme}://{there.netloc}") if there.netloc else "another address"
        raise RunflowUnreachable(f"The server sends on to {where}. Use the address where that ends.", permanent=True)
    return answer


def json_of(session: Session, method: str, path: str, **options: Any) -> Plan[Any]:
    """Return the JSON of an answer; options and errors as of `build` and `exchange`."""
    answer = yield from exchange(session, build(session, method, path, **options))
    try:
        return answer.json()
    except ValueError:
        raise RunflowUnreachable(
            f"What answers at {shown(session.url)} is no Runflow server: {path} gave no JSON. Is the address right?",
            permanent=True,
        ) from None


def _query(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)

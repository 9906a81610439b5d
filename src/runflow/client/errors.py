"""What can go wrong between a client and a server."""

from typing import Any

import httpx


class RunflowUnreachable(Exception):
    """No server answers at this address. Is it running, and is the address right?"""


class ApiError(Exception):
    """The server refused a request; `code` is stable, `message` says what to do next."""

    def __init__(self, response: httpx.Response) -> None:
        """Read the error envelope, or make do with the status of a proxy's answer."""
        try:
            body = response.json()
        except ValueError:
            body = {}
        self.status = response.status_code
        self.code: str = body.get("code") or f"HTTP_{response.status_code}"
        self.message: str = body.get("message") or response.reason_phrase
        self.errors: list[dict[str, Any]] = body.get("errors") or []
        self.request_id = response.headers.get("Runflow-Request-Id")
        super().__init__(f"{self.code}: {self.message}")


class RunFailed(Exception):
    """A run ended as `failed` or `cancelled`; `run` is its record."""

    def __init__(self, run: dict[str, Any]) -> None:
        """Say what the run says."""
        self.run = run
        super().__init__(run.get("failure_message") or f"The run ended as {run['status_code']}.")

"""What both drivers share of HTTP: how connections are made, and how their breaking is told."""

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from runflow import __version__
from runflow.client.credentials import CA_VARIABLE, find, shown
from runflow.client.effects import Answer, Request
from runflow.client.errors import RunflowUnreachable
from runflow.client.exchange import Session
from runflow.tls import next_step, trusting

USER_AGENT = f"runflow-python/{__version__}"
OK = 200
CONNECT_SECONDS = 10.0
"""How long a connection may take to be there: behind an address that swallows everything, it never is."""


def session_of(url: str | None, key: str | None, timeout: float, retry_seconds: float) -> Session:
    """Return what a client begins with. Raises `NotConfigured`."""
    found = find(url, key)
    return Session(found.url, found.key, timeout, retry_seconds)


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """Return whom connections trust: RUNFLOW_CA_FILE beside the public authorities. Raises `CertificateUnusable`."""
    named = os.environ.get(CA_VARIABLE)
    return trusting(httpx.create_ssl_context(), ca_file or (Path(named) if named else None))


def headers_of(request: Request) -> dict[str, str]:
    """Return the headers of a request; files travel as they are, so that their SHA-256 is that of the record."""
    encoding = {} if "Authorization" in request.headers else {"Accept-Encoding": "identity"}
    return {"User-Agent": USER_AGENT, **encoding, **request.headers}


def timeout_of(request: Request) -> httpx.Timeout:
    """Return the time limits of a request. Waiting for a connection of our own that is free is nobody's failure."""
    return httpx.Timeout(request.timeout, connect=min(CONNECT_SECONDS, request.timeout), pool=None)


def answer_of(response: httpx.Response, body: bytes = b"") -> Answer:
    """Return an answer as plans read it."""
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def unreachable(url: str, error: Exception) -> RunflowUnreachable:
    """Say where nobody answered; files may lie elsewhere than the server. Signatures and passwords are not said."""
    parts = urlsplit(url)
    where = shown(f"{parts.scheme}://{parts.netloc}")
    refused = next_step(error)
    reason = str(error) or type(error).__name__
    connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError)
    step = refused or ("" if connected else " Does the server run, and is the address right?")
    return RunflowUnreachable(
        f"Nothing answers at {where}: {reason}.{step}",
        connected=connected,
        permanent=bool(refused) or isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL),
    )


BROKEN = (httpx.TransportError, httpx.InvalidURL)
"""What a driver tells a plan as `RunflowUnreachable`."""

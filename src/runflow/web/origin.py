"""Where the request that is being served came from, for audit events and logs."""

from contextvars import ContextVar
from dataclasses import dataclass

MAX_USER_AGENT = 300


@dataclass(frozen=True, slots=True)
class Origin:
    """A request's id, the address of its peer (a proxy's, where one stands before the server) and its user agent."""

    request_id: str | None = None
    address: str | None = None
    user_agent: str | None = None


_origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039 - a frozen value


def current_origin() -> Origin:
    """Return the origin of the request that this task serves; an empty one outside of requests."""
    return _origin.get()


def set_origin(origin: Origin) -> None:
    """Remember the origin for the rest of this request."""
    _origin.set(origin)

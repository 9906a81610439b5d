"""Everything a server process holds, made once and handed to the routes."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from starlette.requests import Request

from runflow.background import Background
from runflow.db.database import Database
from runflow.db.notifications import Hub
from runflow.db.transaction import Transaction
from runflow.master_key import MasterKey
from runflow.settings import Settings
from runflow.storage.store import Storage
from runflow.web.auth import Authenticator
from runflow.web.rate_limits import RateLimits
from runflow.web.route_table import RouteTable

PartT = TypeVar("PartT")


class Drawing(Protocol):
    """Draws small pictures of images, away from the server's own process."""

    async def draw(self, content: AsyncIterator[bytes], size_bytes: int) -> bytes | None:
        """Return the thumbnail of a picture of so many bytes; None for what cannot be read, or not soon."""

    async def close(self) -> None:
        """End what draws."""


class OutputUploads(Protocol):
    """Says of signed upload URLs of outputs whether they still hold."""

    async def check(self, key: str) -> None:
        """Raise `UrlExpired` where nothing more is stored under this key."""


class RunConsequence(Protocol):
    """Something that follows from a run's end, written by the transaction that ends it (docs/architecture.md)."""

    def concerns(self, run: Any) -> bool:
        """Tell whether anything may follow for this run; `run` is the row by which the queue ends it."""

    async def write(self, services: "Services", transaction: Transaction, ending: Any) -> None:
        """Write what follows from a `runflow.queue.ending.Ending`."""


@dataclass(slots=True)
class Services:
    """The parts of one server process."""

    settings: Settings
    key: MasterKey
    db: Database
    hub: Hub
    storage: Storage
    authenticator: Authenticator
    limits: RateLimits
    drawing: Drawing
    outputs: OutputUploads
    routes: RouteTable
    base_url: str
    """Where this installation is reached, for URLs made without a request; no slash at the end."""
    consequences: tuple[RunConsequence, ...] = ()
    """What follows from a run's end, in the order in which it is written; handed in by `runflow.server`."""
    background: Background = field(default_factory=Background)
    """What runs beside the requests."""
    stopping: bool = False
    """Set when the server stops: long polls answer at once with what there is."""

    _parts: dict[Callable[["Services"], Any], Any] = field(default_factory=dict, init=False, repr=False)

    def part(self, make: Callable[["Services"], PartT]) -> PartT:
        """Return what `make` makes of these services, made when it is first asked for: what one room keeps here."""
        found: PartT | None = self._parts.get(make)
        if found is None:
            found = self._parts[make] = make(self)
        return found

    def stop_waiting(self) -> None:
        """Make every long poll of this process answer now."""
        self.stopping = True
        self.hub.wake_all()


# A coroutine, though nothing is awaited: FastAPI sends a plain function through its thread pool, at every request.
async def services(request: Request) -> Services:
    """Return the process's services: the dependency of every route."""
    found: Services = request.app.state.services
    return found

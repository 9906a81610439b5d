"""Everything a server process holds, made once and handed to the routes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from runflow.db.database import Database
from runflow.db.notifications import Hub
from runflow.master_key import MasterKey
from runflow.settings import Settings
from runflow.web.rate_limits import RateLimits

if TYPE_CHECKING:
    from runflow.assets.drawing_process import DrawingProcess
    from runflow.keys.authenticator import KeyRing
    from runflow.storage.store import Storage


@dataclass(slots=True)
class Services:
    """The parts of one server process."""

    settings: Settings
    key: MasterKey
    db: Database
    hub: Hub
    storage: "Storage"
    authenticator: "KeyRing"
    limits: RateLimits
    drawing: "DrawingProcess"
    base_url: str
    """Where this installation is reached, for URLs made without a request; no slash at the end."""
    stopping: bool = False
    """Set when the server stops: long polls answer at once with what there is."""

    def stop_waiting(self) -> None:
        """Make every long poll of this process answer now."""
        self.stopping = True
        self.hub.wake_all()


# A coroutine, though nothing is awaited: FastAPI sends a plain function through its thread pool, at every request.
async def services(request: Request) -> Services:
    """Return the process's services: the dependency of every route."""
    found: Services = request.app.state.services
    return found

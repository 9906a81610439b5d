"""Fixtures of the whole suite: one embedded PostgreSQL per session, one server application on it."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import structlog
import uvloop
from hypothesis import HealthCheck, settings
from sqlalchemy import URL

from runflow import logs
from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.db.database import Database, parse_url
from runflow.db.migrate import migrate
from runflow.embedded_postgres import EmbeddedPostgres
from runflow.master_key import MasterKey
from runflow.queue import leases
from runflow.server import build_services
from runflow.settings import Settings
from runflow.web.services import Services
from tests.support.application import MakeKey, fresh_database, fresh_key, open_client, operator_org

pytest_plugins = [
    "tests.support.tiers",
    "tests.support.outcome",
    "tests.support.groups",
    "tests.support.plain_root",
    "pytester",
    "tests.support.comfyui_fixtures",
    "tests.support.platform_fixtures",
    "tests.support.editor_fixtures",
    "tests.support.s3_fixtures",
    "tests.support.deployed",
    "tests.support.able",
    "tests.support.served",
    "tests.support.priced_runs",
]

# Hypothesis fails an example that takes longer than 0.2 s, and a test whose examples are slow to make: both would be
# verdicts on the machine. A test that hangs is ended by pytest-timeout.
settings.register_profile("any-machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

# structlog's own choice draws every local variable of a traceback: many seconds in which nothing else in the process
# runs, the server of the tests included.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(autouse=True)
def _log_lines_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a test runs in this process turns its log lines elsewhere, or off, for everyone after it."""
    monkeypatch.setattr(logs, "_is_json", False)
    monkeypatch.setattr(structlog, "configure", lambda **_: None)


@pytest.fixture
def hears_hangups() -> Iterator[None]:
    """Whoever starts the suite with `nohup` ignores SIGHUP, and so does every process that a test starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A home folder for the session, reachable for the database's own user."""
    folder = Path(tempfile.mkdtemp(prefix="runflow-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    """The session's PostgreSQL."""
    server = EmbeddedPostgres(home)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def owner_url(postgres: EmbeddedPostgres) -> URL:
    """The owner's URL of the embedded server's own database."""
    return parse_url(postgres.start().url())


@pytest.fixture(scope="session")
def database_url(owner_url: URL) -> str:
    """URL of an empty database whose user may create tables."""
    return fresh_database(owner_url, "scratch").render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def master_key() -> MasterKey:
    """The installation's key in tests."""
    return MasterKey("0123456789abcdef" * 4)


@pytest.fixture(scope="session")
async def db_url(owner_url: URL, master_key: MasterKey) -> URL:
    """Owner's URL of a migrated database."""
    # pytest-asyncio sets session fixtures up again after a plain test that uses a coroutine's fixture.
    if _MIGRATED:
        return parse_url(_MIGRATED[0])
    url = fresh_database(owner_url, "migrated")
    await migrate(url, master_key)
    _MIGRATED.append(url.set(drivername="postgresql").render_as_string(hide_password=False))
    return url


_MIGRATED: list[str] = []

_CANCEL_ANY_GPU = """
    UPDATE runs SET status_code = 'cancelled', completed_at = clock_timestamp()
    FROM lanes WHERE lanes.id = runs.lane_id AND lanes.gpu_class = 'auto'
        AND runs.status_code IN ('queued', 'dispatching', 'running')
"""
_EMPTY_THEIR_LANES = "UPDATE lanes SET depth = 0, oldest_at = NULL WHERE gpu_class = 'auto' AND depth > 0"


@pytest.fixture(scope="module", autouse=True)
def leave_no_run_behind() -> Iterator[None]:
    """Runs that wait for any GPU would be taken by the workers of the next file's tests.

    So would those that a worker of this file has and never ends: their leases lapse, and they wait again.
    """
    yield
    for dsn in _MIGRATED:
        # Runs before lanes, as everyone locks them.
        with psycopg.connect(dsn) as connection:
            connection.execute(_CANCEL_ANY_GPU)
            connection.execute(_EMPTY_THEIR_LANES)


@pytest.fixture(scope="session")
async def db(db_url: URL, master_key: MasterKey) -> AsyncIterator[Database]:
    """Connections by role to the migrated database."""
    database = Database(db_url, master_key, pool=8)
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def services(db: Database, db_url: URL, master_key: MasterKey, home: Path) -> AsyncIterator[Services]:
    """The parts of one server process, background tasks running."""
    # Tests are faster than callers may be; those of the rate limits have limits of their own.
    settings = Settings(
        home=home,
        public_url="http://testserver",
        allowed_networks="127.0.0.0/8",
        rate_limit=0,
        accept_models=True,
    )
    # A test whose machine stalls between two requests must not lose the run it was offered; those of lapsed offers let
    # them lapse.
    leases.OFFER_SECONDS = 60.0
    async with build_services(settings, db, master_key) as built:
        yield built


@pytest.fixture
async def elsewhere(services: Services, db_url: URL, master_key: MasterKey, home: Path) -> AsyncIterator[Services]:
    """The parts of a second server process on the same database, with connections of its own."""
    database = Database(db_url, master_key, pool=4)
    async with build_services(services.settings, database, master_key) as built:
        yield built
    await database.close()


@pytest.fixture
async def make_key(services: Services) -> MakeKey:
    """Make an API key: `await make_key(scopes=…, org=…)`; without `org` a fresh organization."""

    async def make(scopes: tuple[str, ...] = ALL_SCOPES, org: Any = None) -> str:
        return await fresh_key(services, scopes, org)

    return make


@pytest.fixture
async def client(services: Services, make_key: MakeKey) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of a fresh organization with every scope."""
    async with open_client(services, await make_key()) as opened:
        yield opened


@pytest.fixture
async def other_client(services: Services, make_key: MakeKey) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of another organization with every scope."""
    async with open_client(services, await make_key()) as opened:
        yield opened


@pytest.fixture
async def operator(services: Services, make_key: MakeKey) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the operator's organization with every scope."""
    async with open_client(services, await make_key(org=await operator_org(services))) as opened:
        yield opened


@pytest.fixture
async def anonymous(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A caller without a key."""
    async with open_client(services, None) as opened:
        yield opened


@pytest.fixture
async def owner_slug(client: httpx.AsyncClient, services: Services) -> str:
    """The organization slug of `client`."""
    principal = await services.authenticator.principal(client.headers["Authorization"].removeprefix("Bearer "))
    assert principal is not None
    return principal.org_slug


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}

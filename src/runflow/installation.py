"""One installation on this machine: home, master key, database, and what it needs before the first request."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import URL

from runflow.accounts.keys import queries as key_queries
from runflow.accounts.keys import service as keys
from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.accounts.organizations import queries as orgs
from runflow.accounts.organizations import service as organizations
from runflow.db.database import Database, parse_url
from runflow.db.migrate import migrate
from runflow.embedded_postgres import EmbeddedPostgres
from runflow.master_key import MasterKey, load_or_create
from runflow.private_file import write_private
from runflow.settings import Settings

log = structlog.get_logger()

FIRST_ORGANIZATION = ("default", "Default")
LOCAL_WORKER = "local worker"
"""Name of the token of the worker that `runflow up` runs."""
MINIMUM_TOKEN_LENGTH = 40
"""A shorter one was cut off."""
WORKER_TOKEN_FILE = "worker.token"  # noqa: S105 - a file name


@dataclass(frozen=True, slots=True)
class Installation:
    """Settings, master key and the owner's database URL; `postgres` is None with an outside database."""

    settings: Settings
    key: MasterKey
    owner_url: URL
    postgres: EmbeddedPostgres | None

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """Migrate and open the database."""
        await migrate(self.owner_url, self.key)
        db = Database(self.owner_url, self.key, pool=self.settings.database_pool)
        try:
            yield db
        finally:
            await db.close()


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """What the first start made: the organization, and the API key that is shown this once."""

    org_id: UUID
    org_slug: str
    new_key: str | None
    worker_token_file: Path


LoadKey = Callable[[Path, str | None], MasterKey]
"""Returns the master key of a home, given RUNFLOW_SECRET_KEY."""


@contextmanager
def open_installation(
    settings: Settings, progress: Callable[[str], None] | None = None, *, load_key: LoadKey = load_or_create
) -> Iterator[Installation]:
    """Make the home, load the key, start (or attach to) the embedded PostgreSQL; stop it at the end if it is ours."""
    home = settings.home_dir
    home.mkdir(parents=True, exist_ok=True)
    configured = settings.secret_key.get_secret_value() if settings.secret_key else None
    key = load_key(home, configured)
    if settings.database_url is not None:
        yield Installation(settings, key, parse_url(settings.database_url.get_secret_value()), None)
        return
    postgres = EmbeddedPostgres(home, progress=progress)
    url = parse_url(postgres.start().url())
    try:
        yield Installation(settings, key, url, postgres)
    finally:
        postgres.stop()


async def first_steps(installation: Installation, db: Database) -> FirstSteps:
    """Make the first organization with an API key, and the local worker's token, where they are missing.

    Raises OSError where the token's file is there and cannot be read or written.
    """
    slug, name = FIRST_ORGANIZATION
    token_file = installation.settings.home_dir / WORKER_TOKEN_FILE
    new_key: str | None = None
    async with db.system() as transaction:
        # Two servers that start together make one organization.
        await orgs.lock_first_steps(transaction)
        found = await orgs.first(transaction)
        if found is None:
            made = await organizations.create_by_operator(transaction, slug=slug, name=name, scopes=list(ALL_SCOPES))
            org_id, new_key = made["id"], made["api_key"]["key"]
        else:
            org_id, slug = found.id, found.slug
        token = None
        if not _holds_token(token_file):
            # The worker's name belongs to the token that is lost: without it nobody would get the name any more.
            await key_queries.revoke_token_of_worker(transaction, LOCAL_WORKER, worker=socket.gethostname())
            _, token = await keys.create_worker_token(transaction, LOCAL_WORKER)
    if token is not None:
        write_private(token_file, token + "\n")
    return FirstSteps(org_id, slug, new_key, token_file)


async def announce_key_change(db: Database) -> None:
    """Make every server process forget what it remembers of keys."""
    async with db.system() as transaction:
        await key_queries.announce_change(transaction)


def _holds_token(path: Path) -> bool:
    """Tell whether the local worker's token is there; one that was cut off or emptied is none. Raises OSError."""
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return False
    except UnicodeDecodeError:
        text = ""
    if text.startswith(keys.WORKER_PREFIX) and text.isascii() and len(text) >= MINIMUM_TOKEN_LENGTH:
        return True
    log.warning("the local worker's token file holds no token, making a new one", path=str(path))
    return False

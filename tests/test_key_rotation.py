"""A new master key: everything opens under it, nothing under the old one, and an interruption loses nothing."""

import contextlib
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import URL, make_url

from runflow.cli import keys as cli
from runflow.db import roles
from runflow.db.database import Database
from runflow.db.exclusive import ServersRun
from runflow.db.notifications import LISTENER
from runflow.deliveries import secrets_queries
from runflow.deliveries.secrets import seal, unseal
from runflow.ids import new_id
from runflow.installation import Installation, first_steps
from runflow.key_rotation import rotate
from runflow.master_key import (
    CannotDecrypt,
    MasterKey,
    RotationUnfinished,
    load_current,
    load_or_create,
    load_or_create_next,
    promote_next,
)
from runflow.settings import Settings
from tests.support.application import fresh_database


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture(scope="module")
def url(owner_url: URL) -> URL:
    return fresh_database(owner_url, "rotation")


@pytest.fixture
async def installation(url: URL, master_key: MasterKey, tmp_path: Path) -> AsyncIterator[Installation]:
    """An installation with its key in a file. The roles, which serve the whole suite, get their passwords back."""
    made = Installation(Settings(home=tmp_path), load_or_create(tmp_path, None), url, None)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        yield made
    finally:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as owner:
            await owner.execute("TRUNCATE callback_secrets")
            await roles.provision(owner, master_key)


async def store_a_secret(installation: Installation) -> UUID:
    """Store a callback secret, and return its id."""
    secret_id = new_id()
    async with installation.database() as db:
        steps = await first_steps(installation, db)
        async with db.system() as transaction:
            return await transaction.one_value(
                "INSERT INTO callback_secrets (id, org_id, key_prefix, secret, is_current) "
                "VALUES (%(id)s, %(org)s, 'x', %(secret)s, NOT EXISTS (SELECT FROM callback_secrets)) RETURNING id",
                {"id": secret_id, "org": steps.org_id, "secret": seal(installation.key, "whsec_x", secret_id)},
                of=UUID,
            )


async def stored(installation: Installation, key: MasterKey, secret_id: UUID) -> str:
    """Read the secret as a server with this key would."""
    db = Database(installation.owner_url, key, pool=2)
    try:
        async with db.system() as transaction:
            rows = await secrets_queries.every_secret(transaction)
    finally:
        await db.close()
    (sealed,) = [row.sealed for row in rows if row.id == secret_id]
    return unseal(key, sealed, secret_id)


async def test_everything_is_under_the_new_key_and_nothing_under_the_old(
    installation: Installation, tmp_path: Path
) -> None:
    secret_id = await store_a_secret(installation)
    new = load_or_create_next(tmp_path)
    assert await rotate(installation, lambda: new) >= 1
    promote_next(tmp_path)
    assert load_or_create(tmp_path, None).id == new.id != installation.key.id
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert not (tmp_path / "secret.key.new").exists()
    assert await stored(installation, new, secret_id) == "whsec_x"
    old = Database(installation.owner_url, installation.key).system_url.set(drivername="postgresql")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await psycopg.AsyncConnection.connect(old.render_as_string(hide_password=False))


@pytest.mark.parametrize("step", ["runflow.key_rotation.reseal_all", "runflow.db.roles.provision"])
async def test_an_interrupted_rotation_is_finished_by_running_it_again(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    secret_id = await store_a_secret(installation)
    new = load_or_create_next(tmp_path)
    seen: list[MasterKey] = []
    real = roles.provision

    async def dies(connection: Any, *keys: MasterKey) -> None:
        if keys[-1].id != new.id:  # the roles get their old passwords first
            return await real(connection, *keys)
        seen.append(keys[-1])
        raise Killed

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(step, dies)
        await rotate(installation, lambda: new)
    assert seen
    with pytest.raises(RotationUnfinished, match="rotate-master"):
        load_or_create(tmp_path, None)
    assert load_current(tmp_path, None).id == installation.key.id
    assert load_or_create_next(tmp_path).id == new.id
    await rotate(installation, lambda: load_or_create_next(tmp_path))
    promote_next(tmp_path)
    assert await stored(installation, load_or_create(tmp_path, None), secret_id) == "whsec_x"


async def test_again_after_everything_but_the_rename_changes_nothing(
    installation: Installation, tmp_path: Path
) -> None:
    secret_id = await store_a_secret(installation)
    new = load_or_create_next(tmp_path)
    await rotate(installation, lambda: new)
    assert await rotate(installation, lambda: new) == 0
    assert await stored(installation, new, secret_id) == "whsec_x"


async def test_it_refuses_while_a_server_runs(installation: Installation, url: URL, tmp_path: Path) -> None:
    secret_id = await store_a_secret(installation)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name=LISTENER):
        with pytest.raises(ServersRun, match="Stop them all"):
            await rotate(installation, lambda: load_or_create_next(tmp_path))
    assert await stored(installation, installation.key, secret_id) == "whsec_x"
    assert load_or_create(tmp_path, None).id == installation.key.id, "what was refused keeps no server from starting"


async def test_a_secret_of_a_third_key_stops_it_and_nothing_is_changed(
    installation: Installation, tmp_path: Path
) -> None:
    secret_id = await store_a_secret(installation)
    other = Installation(installation.settings, MasterKey("z" * 40), installation.owner_url, None)
    await store_a_secret(other)
    with pytest.raises(CannotDecrypt):
        await rotate(installation, lambda: load_or_create_next(tmp_path))
    async with installation.database():
        assert await stored(installation, installation.key, secret_id) == "whsec_x"


def test_what_cannot_be_rotated_keeps_no_server_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = Installation(
        Settings(home=tmp_path), load_or_create(tmp_path, None), make_url("postgresql://"), None
    )

    async def fails(_: Installation, next_key: Callable[[], MasterKey]) -> int:
        next_key()
        raise CannotDecrypt

    monkeypatch.setattr(cli, "rotate", fails)
    with pytest.raises(CannotDecrypt):
        cli._rotate_file(installation)
    assert load_or_create(tmp_path, None).id == installation.key.id
    begun = load_or_create_next(tmp_path)
    with pytest.raises(CannotDecrypt):
        cli._rotate_file(installation)
    assert load_or_create_next(tmp_path).id == begun.id, "a rotation that was interrupted before keeps its key"

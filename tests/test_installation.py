"""What the first start makes, and that it makes it once."""

import asyncio
import stat
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import URL

from runflow.accounts.keys import queries as keys
from runflow.db.database import Database
from runflow.ids import new_id, token_hash
from runflow.installation import Installation, first_steps
from runflow.master_key import MasterKey
from runflow.settings import Settings
from runflow.workers import queries as workers


async def test_first_steps_are_taken_once_even_by_two_at_once(
    db: Database, db_url: URL, master_key: MasterKey, tmp_path: Path
) -> None:
    installation = Installation(Settings(home=tmp_path), master_key, db_url, None)
    first, second = await asyncio.gather(first_steps(installation, db), first_steps(installation, db))
    assert first.org_id == second.org_id
    assert first.new_key is None or second.new_key is None
    token_file = tmp_path / "worker.token"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    async with db.system() as connection:
        assert await keys.worker_token(connection, token_hash(token_file.read_text().strip()))


async def test_a_token_file_that_lost_its_token_gets_a_new_one(
    db: Database, db_url: URL, master_key: MasterKey, tmp_path: Path
) -> None:
    installation = Installation(Settings(home=tmp_path), master_key, db_url, None)
    token_file = tmp_path / "worker.token"
    for lost in ("", "\n", "rf_wo", "\x00" * 40):
        token_file.write_text(lost)
        await first_steps(installation, db)
        made = token_file.read_text().strip()
        async with db.system() as connection:
            assert await keys.worker_token(connection, token_hash(made))
        await first_steps(installation, db)
        assert token_file.read_text().strip() == made


async def test_the_name_of_the_local_worker_goes_to_its_new_token(
    db: Database, db_url: URL, master_key: MasterKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"box-{new_id().hex[-8:]}"
    monkeypatch.setattr("socket.gethostname", lambda: name)
    installation = Installation(Settings(home=tmp_path), master_key, db_url, None)
    token_file = (await first_steps(installation, db)).worker_token_file
    values = {
        "id": new_id(),
        "name": name,
        "gpu_code": "CPU",
        "gpu_name": None,
        "memory_gb": 0,
        "labels": {},
        "engine": None,
        "status_code": "ready",
        "status_detail": None,
        "abilities": None,
        "abilities_hash": None,
        "sandbox": None,
    }

    async def register() -> UUID | None:
        async with db.system() as connection:
            token = await keys.worker_token(connection, token_hash(token_file.read_text().strip()))
            return await workers.register(connection, {**values, "instance": new_id(), "token_id": token})

    worker = await register()
    assert worker is not None
    token_file.write_text("")
    await first_steps(installation, db)
    assert await register() == worker

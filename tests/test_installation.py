"""What the first start makes, and that it makes it once."""

import asyncio
import stat
from pathlib import Path

from sqlalchemy import URL

from runflow.accounts.keys import queries as keys
from runflow.db.database import Database
from runflow.ids import token_hash
from runflow.installation import Installation, first_steps
from runflow.master_key import MasterKey
from runflow.settings import Settings


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

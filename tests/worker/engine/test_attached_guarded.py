"""Workers and a ComfyUI whose owner has switched on the plugin's password authentication."""

import uuid
from pathlib import Path

import httpx
import pytest

from plugin.security.password_file import NAME, Account, PasswordFile
from plugin.security.scrypt import Hash
from runflow.worker.engine.attached import AttachedEngine, credential_headers
from runflow.worker.engine.base import EngineRefused
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.owned import OwnedEngine
from tests.support.editor import copy_comfyui

pytestmark = pytest.mark.e2e

PASSWORD = "correct horse battery"
PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


async def test_an_owned_engine_works_under_it_and_an_attached_one_with_credentials(
    comfyui_dir: Path, tmp_path: Path
) -> None:
    comfyui = copy_comfyui(comfyui_dir, tmp_path / "comfyui")
    PasswordFile(comfyui / NAME).write(Account("ann", Hash.of(PASSWORD)))
    owned = OwnedEngine(OwnedSettings(comfyui, tmp_path / "base"))
    await owned.start()
    try:
        assert (await owned.execute(PROMPT, str(uuid.uuid4()))).error is None
        assert httpx.get(f"{owned.url}/system_stats", timeout=30).status_code == 401

        credentials = {"RUNFLOW_COMFYUI_USERNAME": "ann", "RUNFLOW_COMFYUI_PASSWORD": PASSWORD}
        attached = AttachedEngine(owned.url, headers=credential_headers(credentials))
        await attached.start()
        try:
            assert (await attached.execute(PROMPT, str(uuid.uuid4()))).error is None
        finally:
            await attached.stop()
        with pytest.raises(EngineRefused, match="401"):
            await AttachedEngine(owned.url).start()
    finally:
        await owned.stop()

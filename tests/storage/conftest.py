"""Storage on a folder of the test's own, and the application on it."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from runflow.master_key import MasterKey
from runflow.server import create_app
from runflow.storage.local import LocalStorage
from runflow.storage.store import Storage
from runflow.web.services import Services


@pytest.fixture
def storage(tmp_path: Path, master_key: MasterKey) -> Storage:
    return LocalStorage(tmp_path / "storage", master_key)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `storage` keeps its files."""
    return tmp_path / "storage"


@pytest.fixture
async def http(services: Services, storage: Storage) -> AsyncIterator[httpx.AsyncClient]:
    """A client without any key, on an application that stores in `storage`."""
    app = create_app(dataclasses.replace(services, storage=storage))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client

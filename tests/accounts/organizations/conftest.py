"""The organization that the tests of members have."""

from typing import Any

import httpx
import pytest


@pytest.fixture
async def org(client: httpx.AsyncClient) -> dict[str, Any]:
    """The organization of `client`."""
    answer = await client.get("/v1/auth/me", params={"fields": "organization"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["organization"])

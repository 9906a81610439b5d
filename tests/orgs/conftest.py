"""A person who is a member, and a key of that person."""

from typing import Any

import httpx
import pytest

from runflow.services import Services


@pytest.fixture
async def org(client: httpx.AsyncClient) -> dict[str, Any]:
    """The organization of `client`."""
    answer = await client.get("/v1/auth/me", params={"fields": "organization"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["organization"])


async def add_member(client: httpx.AsyncClient, org: dict[str, Any], email: str, **more: Any) -> dict[str, Any]:
    answer = await client.post(f"/v1/organizations/{org['id']}/members", json={"email": email, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def key_of(client: httpx.AsyncClient, member: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"name": "of a person", "user_id": member["user_id"], **more}
    answer = await client.post("/v1/api-keys", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def works(services: Services, key: str) -> bool:
    return await services.authenticator.principal(key) is not None

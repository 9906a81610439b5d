"""Persons who are members of an organization, and their keys."""

from typing import Any

import httpx

from runflow.ids import new_id
from runflow.web.services import Services


def somebody() -> str:
    """Return an address that nobody else has."""
    return f"{new_id().hex}@example.com"


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

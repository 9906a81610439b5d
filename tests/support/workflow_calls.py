"""Calls that the tests of workflows share."""

from typing import Any

import httpx
import orjson

ROUTE = "/v1/comfyui-workflows"

NOWHERE: dict[str, Any] = {"gpu_mode": "explicit", "gpu_explicit_models": ["NOWHERE"]}
"""For workflows that are dispatched: no worker of another test takes such a run."""


async def created(client: httpx.AsyncClient, sent: dict[str, Any]) -> dict[str, Any]:
    """Create a workflow and return its record."""
    answer = await client.post(ROUTE, json=sent)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def refused(client: httpx.AsyncClient, sent: Any, status: int = 422) -> dict[str, Any]:
    """Send a body that is refused with this status and return the error."""
    answer = await client.post(ROUTE, content=orjson.dumps(sent), headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    assert set(found) == {"code", "message", "errors"}
    return found

"""Workflows that name node packs, each of an origin of its own, and the operator's look at them."""

from typing import Any

import httpx

from runflow.ids import new_id
from tests.support.deployed import PROMPT

COMMIT = "0123456789abcdef" * 2 + "01234567"


def fresh_origin() -> str:
    """Return an address that nothing has named yet."""
    return f"https://git.example/{new_id().hex}"


def manifest(*origins: str, commit: str = COMMIT, **packs: Any) -> dict[str, Any]:
    """Return fields of a workflow whose packs come from these origins; `packs`: rows by name, beside them."""
    rows = {
        f"pack{at}": {"origin": origin, "commit": commit, "classes": ["Anything"]} for at, origin in enumerate(origins)
    }
    environment = {"comfyui": {"version": "0.30.0"}, "packages": {"numpy": "2.1", "pillow": "11.0"}}
    return {"custom_nodes": rows | packs, "environment": environment}


async def deploy(client: httpx.AsyncClient, *origins: str, **more: Any) -> dict[str, Any]:
    """Deploy a workflow whose packs come from these origins, and return the answer."""
    body = {"name": f"Grow {new_id().hex[-8:]}", "workflow_json": PROMPT, **manifest(*origins), **more}
    answer = await client.post("/v1/comfyui-workflows", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def listed(operator: httpx.AsyncClient, origin: str) -> list[dict[str, Any]]:
    """Return the sources of an origin that the operator is shown."""
    answer = await operator.get("/v1/sources", params={"q": f"origin:'{origin}'"})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def decide(operator: httpx.AsyncClient, origin: str, verb: str = "approve") -> dict[str, Any]:
    """Approve or revoke the one source of an origin, and return its record."""
    (source,) = await listed(operator, origin)
    answer = await operator.post(f"/v1/sources/{source['id']}/{verb}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())

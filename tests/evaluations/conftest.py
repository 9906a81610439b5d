"""Images that the tests send, and what they wait for."""

import asyncio
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support import picture_corpus
from tests.support.picture_corpus import data_uri, png


@pytest.fixture(scope="session")
def good_png() -> bytes:
    """A photograph that no judge complains about."""
    return png(picture_corpus.good("portrait", 1, 384, 384))


@pytest.fixture(scope="session")
def black_png() -> bytes:
    """What a model gives whose numbers overflowed."""
    return png(Image.new("RGB", (384, 384)))


async def submit(client: httpx.AsyncClient, content: bytes, **more: Any) -> dict[str, Any]:
    body = {"generated_image_url": data_uri(content), "task_type": "headshot", **more}
    answer = await client.post("/v1/evaluations", json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def ended(client: httpx.AsyncClient, evaluation_id: str, seconds: float = 60) -> dict[str, Any]:
    """Wait until an evaluation has ended, and return it with everything that can be embedded."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await client.get(f"/v1/evaluations/{evaluation_id}?embed=judges,action,gate_failures,run")
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            if found["status_code"] in ("completed", "failed"):
                return found
            await asyncio.sleep(0.05)

"""What an author is told of files in caches that no worker can restore."""

from typing import Any

import httpx

from tests.support.workflow_calls import ROUTE, created
from tests.support.workflow_prompts import body

COMMIT, SHA = "c" * 40, "a" * 64
WHOLE = {"repo": "org/whole", "revision": COMMIT, "files": [{"path": "x.safetensors", "sha256": SHA, "size_bytes": 1}]}
FIXED = {"name": "fixed.safetensors", "sha256": "b" * 64, "url": "https://host.example/fixed.safetensors"}


def about_caches(answer: dict[str, Any]) -> list[str]:
    messages = [str(warning["message"]) for warning in answer["warnings"]]
    return [message for message in messages if "Hugging Face" in message or "torch hub" in message]


async def test_what_can_be_restored_is_not_worth_a_word(client: httpx.AsyncClient) -> None:
    made = await created(client, body(environment={"cached_models": {"huggingface": [WHOLE], "pytorch": [FIXED]}}))
    assert about_caches(made) == []
    assert made["environment"]["cached_models"]["huggingface"] == [WHOLE], "kept as sent"


async def test_names_code_and_files_from_nowhere_are_told_with_the_next_step(client: httpx.AsyncClient) -> None:
    hub = [WHOLE, *(f"org/name-{number}" for number in range(8))]
    torch = [FIXED, {"name": "lost.pth", "sha256": SHA}, {"name": "pytorch/vision", "type": "repository"}]
    made = await created(client, body(environment={"cached_models": {"huggingface": hub, "pytorch": torch}}))
    names, code, nowhere = about_caches(made)
    assert '"org/name-0", "org/name-1"' in names and "and 3 more" in names and "org/whole" not in names
    assert '"pytorch/vision"' in code and '"lost.pth"' in nowhere
    assert all(warning["next_step"] for warning in made["warnings"])
    changed = await client.patch(f"{ROUTE}/{made['id']}", json={"environment": {"cached_models": {"pytorch": torch}}})
    assert about_caches(changed.json()) == [code, nowhere]
    renamed = await client.patch(f"{ROUTE}/{made['id']}", json={"name": "Another"})
    assert about_caches(renamed.json()) == []

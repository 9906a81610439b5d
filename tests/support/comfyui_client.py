"""Talk to a running ComfyUI: submit a prompt, wait for its end, tell what happened."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Execution:
    """The end of one prompt: its outputs by node, and the error message when a node failed."""

    outputs: dict[str, Any]
    error: dict[str, Any] | None = None
    refused: dict[str, Any] | None = field(default=None)


def execute(url: str, prompt: dict[str, Any]) -> Execution:
    """Run `prompt` and wait until its history entry is there. A prompt that is refused has `refused` set."""
    with httpx.Client(base_url=url, timeout=30) as client:
        body = {"prompt": prompt, "client_id": uuid.uuid4().hex, "prompt_id": str(uuid.uuid4())}
        answer = client.post("/prompt", json=body)
        if answer.status_code == 400:
            return Execution({}, refused=answer.json())
        answer.raise_for_status()
        assert answer.json()["node_errors"] == {}
        prompt_id = answer.json()["prompt_id"]
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            entry = client.get(f"/history/{prompt_id}").json().get(prompt_id)
            if entry is not None:
                errors = [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]
                return Execution(entry["outputs"], error=errors[0] if errors else None)
            time.sleep(0.02)
    raise AssertionError(f"prompt {prompt_id} did not end within {DEADLINE_S} s")

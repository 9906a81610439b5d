"""One attempt, the vision-language judge included: it sees small copies, and only where there is something to see."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from runflow.evaluations.runner.attempt import Bench, clear_leftovers
from runflow.evaluations.runner.files import Files
from runflow.evaluations.runner.judging import JudgingPool, judging_pool
from runflow.evaluations.runner.queries import Claim
from runflow.evaluations.vision import VisionJudge, configured_vision_judge
from runflow.ids import new_id
from runflow.outgoing import GuardedClient
from runflow.web.services import Services
from tests.support import picture_corpus
from tests.support.chat_server import ChatServer, chat_server, verdict
from tests.support.picture_corpus import png


@pytest.fixture
async def pool() -> AsyncIterator[JudgingPool]:
    async with judging_pool(1) as made:
        yield made


async def judged(
    services: Services, pool: JudgingPool, server: ChatServer, folder: Path, content: bytes
) -> dict[str, Any]:
    key = f"assets/{new_id()}/image.png"
    await services.storage.put(key, content, limit=10**8)
    values = dict.fromkeys(Claim.__slots__) | {
        "id": new_id(),
        "claim_id": new_id(),
        "org_id": new_id(),
        "image_object_key": key,
        "task_type": "headshot",
        "generation_prompt": "an otter",
        "reference_images": [],
    }
    settings = services.settings.model_copy(update={"vlm_url": server.url, "vlm_model": "eyes"})
    async with configured_vision_judge(settings) as vision, GuardedClient() as client:
        assert isinstance(vision, VisionJudge)
        found = await Bench(Files(services, client), pool, vision, folder).judge(Claim(**values))  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []
    return {"outcome": found.outcome, **{said["name"]: said for said in found.verdicts}}


async def test_the_model_sees_a_small_copy_and_its_verdict_counts(
    services: Services, pool: JudgingPool, tmp_path: Path
) -> None:
    with chat_server(verdict) as server:
        found = await judged(services, pool, server, tmp_path, png(picture_corpus.good("portrait", 1, 1400, 700)))
    assert found["vision_language"]["passed"] is False
    assert not found["outcome"].overall_passed and "six fingers" in found["outcome"].top_issues[0]
    import base64

    url = server.requests[0]["messages"][1]["content"][1]["image_url"]["url"]
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as seen:
        assert (seen.format, seen.size) == ("JPEG", (1024, 512))


async def test_the_model_is_not_asked_about_broken_images(
    services: Services, pool: JudgingPool, tmp_path: Path
) -> None:
    with chat_server(verdict) as server:
        black = await judged(services, pool, server, tmp_path, png(Image.new("RGB", (64, 64))))
        garbage = await judged(services, pool, server, tmp_path, b"garbage")
    assert server.requests == [] and "vision_language" not in black | garbage
    assert black["outcome"].primary_action_code == garbage["outcome"].primary_action_code == "regenerate"


async def test_without_the_model_the_others_decide(services: Services, pool: JudgingPool, tmp_path: Path) -> None:
    with chat_server(lambda _: (401, {})) as server:
        found = await judged(services, pool, server, tmp_path, png(picture_corpus.good("portrait", 1, 384, 384)))
    assert found["vision_language"]["passed"] is None
    assert found["outcome"].overall_passed and found["outcome"].check_summary["not_judged"] == 1


async def test_folders_of_dead_processes_are_cleared(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "image").write_bytes(b"x")
    await clear_leftovers(tmp_path, 3600)
    assert (tmp_path / "old").exists()
    await clear_leftovers(tmp_path, -1)
    assert not (tmp_path / "old").exists()
    await clear_leftovers(tmp_path / "nowhere", 0)

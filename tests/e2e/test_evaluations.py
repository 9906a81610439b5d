"""A real run's output is evaluated by itself."""

import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from runflow.client import Runflow
from tests.support import e2e_prompts, picture_corpus
from tests.support.platform_fixtures import Platform, until

pytestmark = pytest.mark.e2e


def test_the_output_of_a_real_run_is_evaluated(
    api: Runflow, platform: Platform, platform_key: str, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    picture_corpus.good("portrait", 1, 384, 384).save(photo)
    black = tmp_path / "black.png"
    Image.new("RGB", (384, 384)).save(black)
    options = {"auto_evaluate": True, "evaluation_task_type": "image-to-image"}
    path = api.deploy("evaluated", e2e_prompts.blend(), **options)["path"]
    http = httpx.Client(base_url=platform.url, headers={"Authorization": f"Bearer {platform_key}"}, timeout=30)

    def evaluated(first: Path, second: Path) -> dict[str, Any]:
        values = {"first": api.upload(first), "second": api.upload(second)}
        run = api.wait(api.submit(path, values)["id"], timeout=300)
        route = f"/v1/runs/{run['id']}/evaluations"

        def verdict() -> Any:
            items = http.get(route, params={"embed": "judges"}).json()["items"]
            return items if items and items[0]["status_code"] == "completed" else None

        (found,) = until(verdict, "the verdict")
        with Image.open(io.BytesIO(httpx.get(found["generated_image_url"], timeout=30).content)) as image:
            assert image.size == (384, 384)
        assert api.get_run(run["id"])["current_evaluation_summary"]["passed"] is found["overall_passed"]
        return dict(found)

    with http:
        mixed = evaluated(photo, black)
        assert mixed["overall_passed"] and mixed["task_type"] == "image-to-image"
        assert {judge["name"] for judge in mixed["judges"]} >= {"broken_output", "blur", "near_duplicate"}
        unchanged = evaluated(photo, photo)
        assert [judge["name"] for judge in unchanged["judges"] if not judge["passed"]] == ["near_duplicate"]
        nothing = evaluated(black, black)
        assert (nothing["overall_passed"], nothing["primary_action_code"]) == (False, "regenerate")

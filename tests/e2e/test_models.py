"""Models that only their author had: uploaded to a real server, placed by its worker, loaded by its ComfyUI."""

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pytest

from plugin.deploy.model_upload import LocalModel, send_model
from plugin.deploy.platform import Platform as Server
from plugin.deploy.target import Target
from runflow.client import RunFailed, Runflow
from tests.support.platform_fixtures import Platform, nodes_folder, until
from tests.support.upscaler import prompt, safetensors

pytestmark = pytest.mark.e2e


async def uploaded(platform: Platform, platform_key: str, folder: Path, name: str) -> dict[str, Any]:
    """Upload a new model and return the manifest's `models` with it."""
    content = safetensors(str(uuid.uuid4()))
    place = folder / name
    place.write_bytes(content)
    model = LocalModel(f"upscale_models/{name}", place, len(content), hashlib.sha256(content).hexdigest())
    async with Server(Target(platform.url, platform.url, platform_key)) as server:
        await send_model(server, model, lambda _done, _total: None)
    return {model.path: {"directory": "upscale_models", "size_bytes": len(content), "sha256": model.sha256}}


def engine_folder(platform: Platform) -> Path:
    return nodes_folder(platform.home).with_name("models")


async def test_a_run_loads_a_model_that_was_uploaded_while_the_engine_ran(
    platform: Platform, platform_key: str, tmp_path: Path
) -> None:
    with Runflow(platform.url, platform_key) as api:
        for name in ("first.safetensors", "sub/second.safetensors"):
            (tmp_path / "sub").mkdir(exist_ok=True)
            models = await uploaded(platform, platform_key, tmp_path, name)
            assert not (engine_folder(platform) / f"upscale_models/{name}").exists()
            path = api.deploy(name.rpartition("/")[2].partition(".")[0], prompt(name), models=models)["path"]
            run = api.wait(api.submit(path, {})["id"], timeout=300)
            assert (run["output"]["outputs"][0]["width"], run["output"]["outputs"][0]["height"]) == (32, 32)
            placed = engine_folder(platform) / f"upscale_models/{name}"
            assert placed.read_bytes() == (tmp_path / name).read_bytes()


async def test_a_format_that_can_hold_code_waits_and_says_the_next_step(
    platform: Platform, platform_key: str, tmp_path: Path
) -> None:
    models = await uploaded(platform, platform_key, tmp_path, "third.pth")
    with Runflow(platform.url, platform_key) as api:
        deployed = api.deploy("third", prompt("third.pth"), models=models)
        assert any("RUNFLOW_WORKER_ALLOW_PICKLE" in one["next_step"] for one in deployed["warnings"])
        run = api.submit(deployed["path"], {})
        until(lambda: "RUNFLOW_WORKER_ALLOW_PICKLE" in str(api.get_run(run)["waiting_reason"]), "the reason", 120)
        assert '"upscale_models/third.pth"' in api.get_run(run)["waiting_reason"]
        api.cancel(run)
    assert not (engine_folder(platform) / "upscale_models/third.pth").exists()


def test_a_model_that_only_the_prompt_names_is_waited_for(platform: Platform, platform_key: str) -> None:
    name = f"{uuid.uuid4().hex}.safetensors"
    with Runflow(platform.url, platform_key) as api:
        run = api.submit(api.deploy("undeclared", prompt(name))["path"], {})
        until(lambda: "could not run it" in str(api.get_run(run)["waiting_reason"]), "the reason", 120)
        assert name in api.get_run(run)["waiting_reason"]
        assert api.get_run(run)["status_code"] == "queued"
        api.cancel(run)


def test_a_model_that_the_caller_names_is_the_caller_s_mistake(platform: Platform, platform_key: str) -> None:
    row = {
        "name": "model",
        "variable_type_code": "string",
        "comfyui_node_id": "2",
        "comfyui_field_name": "model_name",
        "is_required": True,
    }
    with Runflow(platform.url, platform_key) as api:
        path = api.deploy("chosen", prompt("any.safetensors"), inputs=[row])["path"]
        with pytest.raises(RunFailed) as failed:
            api.wait(api.submit(path, {"model": "nobody-has.safetensors"})["id"], timeout=300)
    run = failed.value.run
    assert (run["failure_code"], run["attempt_count"]) == ("MODEL_MISSING", 1)
    assert "nobody-has.safetensors" in run["failure_message"] and 'input "model"' in run["failure_message"]

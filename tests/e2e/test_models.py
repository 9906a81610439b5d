"""Models of versions: uploaded or at an address, brought by the worker of a real server, loaded by its ComfyUI."""

import hashlib
import io
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from plugin.deploy.model_upload import LocalModel, send_model
from plugin.deploy.platform import Platform as Server
from plugin.deploy.target import Target
from runflow.client import RunFailed, Runflow
from tests.support.model_host import hosting
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


def placed_as(platform: Platform, name: str) -> list[bytes]:
    """What the engines that live have at this place in their models."""
    base = nodes_folder(platform.home).parent
    return [place.read_bytes() for place in base.glob(f"**/models/upscale_models/{name}")]


async def test_a_run_loads_a_model_that_was_uploaded_while_the_engine_ran(
    platform: Platform, platform_key: str, tmp_path: Path
) -> None:
    with Runflow(platform.url, platform_key) as api:
        for name in ("first.safetensors", "sub/second.safetensors"):
            (tmp_path / "sub").mkdir(exist_ok=True)
            models = await uploaded(platform, platform_key, tmp_path, name)
            assert not placed_as(platform, name)
            path = api.deploy(name.rpartition("/")[2].partition(".")[0], prompt(name), models=models)["path"]
            run = api.wait(api.submit(path, {})["id"], timeout=300)
            assert (run["output"]["outputs"][0]["width"], run["output"]["outputs"][0]["height"]) == (32, 32)
            assert placed_as(platform, name) == [(tmp_path / name).read_bytes()]


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
    assert not placed_as(platform, "third.pth")


def colour(api: Runflow, path: str) -> tuple[int, ...]:
    """Run a workflow, and return the colour of its picture's first pixel."""
    run = api.wait(api.submit(path, {})["id"], timeout=300)
    picture = httpx.get(run["output"]["outputs"][0]["url"], verify=False)
    with Image.open(io.BytesIO(picture.content)) as image:
        pixel = image.convert("RGB").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(int(one) for one in pixel)


def test_versions_see_the_file_that_they_declare_under_one_path(platform: Platform, platform_key: str) -> None:
    """Two contents of one name come from their addresses, and neither version ever computes with the other's."""
    dark, light = safetensors(uuid.uuid4().hex), safetensors(uuid.uuid4().hex, added=0.5)
    name = "upscale_models/alike.safetensors"
    with Runflow(platform.url, platform_key) as api, hosting({"/dark": dark, "/light": light}) as host:
        paths = []
        for which, content in (("dark", dark), ("light", light)):
            model = {"url": f"{host}/{which}", "sha256": hashlib.sha256(content).hexdigest()}
            deployed = api.deploy(f"alike-{which}", prompt("alike.safetensors"), models={name: model})
            assert (deployed["can_run"], deployed["warnings"]) == (True, [])
            paths.append(deployed["path"])
        first = [colour(api, path) for path in paths * 3]
        assert first == [(255, 0, 0), (255, 128, 128)] * 3
        undeclared = api.submit(api.deploy("alike-undeclared", prompt("alike.safetensors"))["path"], {})
        until(lambda: "could not run it" in str(api.get_run(undeclared)["waiting_reason"]), "the reason", 120)
        api.cancel(undeclared)


def test_what_an_address_has_is_refused_where_it_is_another_file(platform: Platform, platform_key: str) -> None:
    with Runflow(platform.url, platform_key) as api, hosting({"/other": safetensors("other")}) as host:
        models = {"upscale_models/wrong.safetensors": {"url": f"{host}/other", "sha256": "0" * 64}}
        path = api.deploy("wrong-file", prompt("wrong.safetensors"), models=models)["path"]
        with pytest.raises(RunFailed) as failed:
            api.wait(api.submit(path, {})["id"], timeout=300)
    run = failed.value.run
    assert run["failure_code"] == "MODEL_MISSING"
    assert "SHA-256" in run["failure_message"] and "wrong.safetensors" in run["failure_message"]


def test_a_model_that_only_the_prompt_names_is_waited_for_and_then_run(
    platform: Platform, platform_key: str, comfyui_dir: Path
) -> None:
    name = f"{uuid.uuid4().hex}.safetensors"
    with Runflow(platform.url, platform_key) as api:
        run = api.submit(api.deploy("undeclared", prompt(name))["path"], {})
        until(lambda: "could not run it" in str(api.get_run(run)["waiting_reason"]), "the reason", 120)
        assert name in api.get_run(run)["waiting_reason"]
        assert api.get_run(run)["status_code"] == "queued"
        place = comfyui_dir / "models" / "upscale_models" / name
        try:
            place.write_bytes(safetensors(name))
            # The worker looks every 30 seconds.
            assert api.wait(run["id"], timeout=300)["status_code"] == "succeeded"
        finally:
            place.unlink()


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


async def test_what_a_run_loaded_and_waited_for_is_told_on_its_record(
    platform: Platform, platform_key: str, tmp_path: Path
) -> None:
    models = await uploaded(platform, platform_key, tmp_path, "measured.safetensors")
    with Runflow(platform.url, platform_key) as api:
        path = api.deploy("measured", prompt("measured.safetensors"), models=models)["path"]
        run = api.wait(api.submit(path, {})["id"], timeout=300)
        headers = {"Authorization": f"Bearer {platform_key}"}
        address = f"{platform.url}/v1/runs/{run['id']}?embed=attempts,node_runs"
        found = httpx.get(address, headers=headers, verify=False).json()
    (attempt,) = found["attempts"]
    loads = {node["node_id"]: node["load_ms"] for node in found["node_runs"]}
    assert attempt["load_ms"] > 0, "the engine measured it"
    assert loads["1"] == loads["9"] == 0 and loads["2"] + loads["3"] <= attempt["load_ms"] + 1
    assert float(found["cost_breakdown"]["load_seconds"]) == attempt["load_ms"] / 1000
    began, made = (datetime.fromisoformat(found[name]) for name in ("started_at", "created_at"))
    assert sum(found["wait"].values()) == (began - made) // timedelta(milliseconds=1)
    assert found["wait"] == attempt["wait"] and found["wait"]["model_ms"] > 0

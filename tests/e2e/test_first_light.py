"""The whole way through, on a real ComfyUI: deploy over HTTP, upload, dispatch, and see the stored picture."""

import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from runflow.client import ApiError, File, RunFailed, Runflow
from runflow.demo import workflow as demo
from runflow.demo.picture import paint
from tests.support import e2e_prompts
from tests.support.platform_fixtures import Platform, Receiver, installation, until

pytestmark = pytest.mark.e2e


def solid(path: Path, colour: str, side: int = 32) -> Path:
    Image.new("RGB", (side, side), colour).save(path)
    return path


def picture(run: dict[str, Any], number: int = 0) -> Image.Image:
    content = httpx.get(run["output"]["outputs"][number]["url"], timeout=30).content
    return Image.open(io.BytesIO(content)).convert("RGB")


def failure(api: Runflow, path: str, inputs: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(RunFailed) as failed:
        api.wait(api.submit(path, inputs)["id"], timeout=300)
    return failed.value.run


def test_the_demo_s_workflow_gives_a_picture(api: Runflow, tmp_path: Path) -> None:
    deployed = api.deploy(demo.SLUG, demo.PROMPT, name=demo.NAME)
    photo = api.upload(paint(tmp_path / "photo.png"))
    run = api.wait(api.submit(deployed["path"], {"photo": photo, "size": 256})["id"], timeout=300)
    (produced,) = run["output"]["outputs"]
    assert (produced["output_id"], produced["content_type"]) == (demo.OUTPUT_ID, "image/png")
    assert (produced["width"], produced["height"]) == (256, 256)
    saved = api.download(produced, tmp_path / "out.png")
    assert saved.stat().st_size == produced["size_bytes"]
    with Image.open(saved) as image:
        assert image.size == (256, 256)
        assert "prompt" not in image.info and "workflow" not in image.info
        colours = image.convert("RGB").getcolors(maxcolors=256 * 256)
    assert colours is not None and len(colours) > 50
    full = api.get_run(run["id"])
    assert full["has_node_runs"] and float(full["cost_breakdown"]["execute_seconds"]) > 0


def test_two_inputs_with_one_file_name_do_not_collide(api: Runflow, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = api.upload(solid(tmp_path / "a" / "photo.png", "white"))
    second = api.upload(solid(tmp_path / "b" / "photo.png", "black"))
    path = api.deploy("blend", e2e_prompts.blend())["path"]
    run = api.wait(api.submit(path, {"first": first, "second": second})["id"], timeout=300)
    assert picture(run).getpixel((5, 5)) == pytest.approx((128, 128, 128), abs=2)


def test_resources_of_two_versions_with_one_name_never_mix(api: Runflow, tmp_path: Path) -> None:
    prompt = {"1": e2e_prompts.node("LoadImage", image="style/ref.png"), "9": e2e_prompts.output("1")}
    seen = []
    for colour in ("red", "blue"):
        reference = api.upload(solid(tmp_path / f"{colour}.png", colour))
        asset = reference.removeprefix("runflow://assets/")
        deployed = api.deploy("resources", prompt, resources={"style/ref.png": {"asset_id": asset}})
        run = api.wait(api.submit(deployed["path"], {})["id"], timeout=300)
        seen.append(picture(run).getpixel((3, 3)))
    assert seen == [(255, 0, 0), (0, 0, 255)]


def test_a_failing_node_is_named_with_the_next_step_and_nothing_internal(api: Runflow, platform: Platform) -> None:
    path = api.deploy("boom", e2e_prompts.boom())["path"]
    run = failure(api, path, {})
    assert (run["failure_code"], run["failure_stage_code"]) == ("EXECUTION_FAILED", "execute")
    assert (run["error"]["node_id"], run["error"]["node_type"]) == ("2", "TestBoom")
    for word in ("2", "Fuse", "TestBoom", "kaput"):
        assert word in run["failure_message"]
    assert "Traceback" not in str(run) and str(platform.home) not in str(run["error"])
    assert run["attempt_count"] == 1


def test_a_missing_node_type_is_named_when_it_is_deployed_and_waited_for(api: Runflow) -> None:
    deployed = api.deploy("missing", {"2": e2e_prompts.node("NoSuchNode"), "9": e2e_prompts.output("2")})
    (warning,) = [one for one in deployed["warnings"] if "NoSuchNode" in one["message"]]
    assert warning["message"].startswith("No connected worker can run this yet: ")
    run = api.submit(deployed["path"], {})
    until(lambda: "lacks the node class NoSuchNode" in str(api.get_run(run)["waiting_reason"]), "the reason", 120)
    assert api.get_run(run, embed="attempts")["attempts"] == []
    api.cancel(run)


def test_a_prompt_of_which_only_a_part_is_valid_fails_whole(api: Runflow) -> None:
    prompt = {
        "1": e2e_prompts.node("EmptyImage", width=32, height=32, batch_size=1, color=0),
        "2": e2e_prompts.node(
            "ImageScale", image=["1", 0], upscale_method="nonsense", width=8, height=8, crop="disabled"
        ),
        "8": e2e_prompts.output("1"),
        "9": e2e_prompts.output("2"),
    }
    prompt["9"]["inputs"]["output_id"] = "second"
    run = failure(api, api.deploy("partial", prompt)["path"], {})
    assert run["failure_code"] == "WORKFLOW_INVALID"
    assert run["output"] is None
    assert "nonsense" in run["failure_message"] or "upscale_method" in run["failure_message"]


def test_an_image_that_is_no_image_is_the_caller_s_input(api: Runflow, tmp_path: Path) -> None:
    text = tmp_path / "photo.bin"
    text.write_text("no picture at all")
    reference = api.upload(File(text, mime_type="application/octet-stream"))
    run = failure(api, api.deploy("blend", e2e_prompts.blend())["path"], {"first": reference, "second": reference})
    assert (run["failure_code"], run["failure_stage_code"]) == ("INPUT_VALIDATION_FAILED", "preprocess")
    assert "first" in run["failure_message"] or "second" in run["failure_message"]


def test_an_input_that_cannot_be_fetched_is_named(api: Runflow) -> None:
    nowhere = "https://127.0.0.1:9/a.png"
    run = failure(api, api.deploy("blend", e2e_prompts.blend())["path"], {"first": nowhere, "second": nowhere})
    assert run["failure_code"] == "INPUT_FETCH_FAILED"
    assert "127.0.0.1" in run["failure_message"]


def test_a_private_address_is_refused_where_the_operator_did_not_allow_it(api: Runflow) -> None:
    inside = "https://10.1.2.3/a.png"
    run = failure(api, api.deploy("blend", e2e_prompts.blend())["path"], {"first": inside, "second": inside})
    assert run["failure_code"] == "INPUT_FETCH_FAILED"


def test_progress_is_seen_and_a_running_run_is_cancelled_alone(api: Runflow) -> None:
    path = api.deploy("sleep-long", e2e_prompts.sleep(900))["path"]
    neighbour = api.deploy("sleep-short", e2e_prompts.sleep(0.2))["path"]
    long = api.submit(path, {"colour": 1})
    until(lambda: api.get_run(long["id"])["status_code"] == "running", "the run is running")
    short = api.submit(neighbour, {"colour": 2})
    assert api.cancel(long["id"])["status_code"] == "cancelled"
    assert api.wait(short["id"], timeout=300)["status_code"] == "succeeded"
    assert api.get_run(long["id"])["output"] is None


def test_a_run_over_its_time_limit_fails_with_that_reason(api: Runflow) -> None:
    deployed = api.deploy("limited", e2e_prompts.sleep(30), timeout_seconds=1)
    run = failure(api, deployed["path"], {"colour": 1})
    assert run["failure_code"] == "RUN_TIMEOUT"


def test_the_callback_arrives_once_with_the_output(api: Runflow, receiver: Receiver) -> None:
    path = api.deploy("sleep-now", e2e_prompts.sleep(0.05))["path"]
    run = api.submit(path, {"colour": 7}, callback_url=receiver.url, client_ref="ref-1", metadata={"a": 1})
    api.wait(run["id"], timeout=300)
    until(lambda: receiver.bodies, "the callback")
    (body,) = receiver.bodies
    assert (body["event"], body["run_id"], body["status"]) == ("run.completed", run["id"], "succeeded")
    assert (body["client_ref"], body["metadata"], body["workflow"]) == ("ref-1", {"a": 1}, path)
    assert httpx.get(body["output"]["outputs"][0]["url"], timeout=30).status_code == 200


def test_many_runs_at_once_all_succeed_with_their_own_output(api: Runflow) -> None:
    path = api.deploy("sleep-now", e2e_prompts.sleep(0.05))["path"]
    runs = [api.submit(path, {"colour": number * 10}) for number in range(20)]
    for number, run in enumerate(runs):
        done = api.wait(run["id"], timeout=300)
        assert picture(done).getpixel((1, 1)) == (number * 10,) * 3


def test_an_attached_engine_serves_runs_too(comfyui_url: str, tmp_path: Path) -> None:
    with (
        installation(None, environment={"RUNFLOW_COMFYUI_URL": comfyui_url}) as platform,
        Runflow(platform.url, platform.key()) as api,
    ):
        first = api.upload(solid(tmp_path / "a.png", "white"))
        second = api.upload(solid(tmp_path / "b.png", "black"))
        path = api.deploy("blend", e2e_prompts.blend())["path"]
        for _ in range(2):
            run = api.wait(api.submit(path, {"first": first, "second": second})["id"], timeout=300)
            assert picture(run).getpixel((5, 5)) == pytest.approx((128, 128, 128), abs=2)


def test_without_an_engine_it_serves_and_says_how_to_get_one() -> None:
    with installation(None) as platform, Runflow(platform.url, platform.key()) as api:
        path = api.deploy("sleep", e2e_prompts.sleep(0.1))["path"]
        run = api.submit(path, {"colour": 1})
        reason = until(
            lambda: (api.get_run(run["id"])["waiting_reason"] or "").count("runflow comfyui install"), "the reason"
        )
        assert reason
        assert api.get_run(run["id"])["status_code"] == "queued"
        assert "runflow comfyui install" in platform.log()
        with pytest.raises(ApiError) as refused:
            api.submit(path, {"color": 1})
        assert refused.value.code == "VALIDATION_ERROR"

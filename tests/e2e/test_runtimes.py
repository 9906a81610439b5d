"""Versions that need another ComfyUI than the worker has: it is built from what their manifest names, and runs them."""

import io
import random
from typing import Any

import httpx
import pytest
from PIL import Image

from runflow.client import RunFailed, Runflow
from tests.support.platform_fixtures import Receiver, until
from tests.support.runtime_bench import COMFYUI, FIRST_BUILD_SECONDS, INSTALLER_SAYS, PLAIN, SHADES, Bench, shown

ROUNDS = 3
"""Of kills: each behind another one of four runs."""


def level(run: dict[str, Any]) -> int:
    """Return how light a run's picture is."""
    picture = httpx.get(run["output"]["outputs"][0]["url"], verify=False)
    with Image.open(io.BytesIO(picture.content)) as image:
        pixel = image.convert("RGB").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return int(pixel[0])


@pytest.fixture(scope="module")
def shades(bench: Bench) -> list[dict[str, Any]]:
    """Two versions whose packages exclude each other."""
    found: list[dict[str, Any]] = []
    with Runflow(bench.platform.url, bench.key) as api:
        for name, version in zip(("dark", "light"), SHADES, strict=True):
            packs = bench.pack(name, requires=f"shade=={version}\n", imports="import shade", value="shade.level")
            deployed = api.deploy(name, shown(name), custom_nodes=packs, environment={"comfyui": COMFYUI})
            assert deployed["can_run"] is True, deployed
            found.append(deployed)
    return found


def test_versions_with_packages_that_exclude_each_other_alternate_on_one_worker(
    bench: Bench, shades: list[dict[str, Any]]
) -> None:
    with Runflow(bench.platform.url, bench.key) as api:
        levels = []
        for one in shades * 3:
            run = api.wait(api.submit(one["path"], {})["id"], timeout=FIRST_BUILD_SECONDS)
            levels.append(level(run))
        assert levels == [int(version) for version in SHADES] * 3
        for one in shades:
            (build,) = bench.runtime(one["id"])["builds"]
            assert build["succeeded"] and "Starting ComfyUI" in build["log"], build
            assert INSTALLER_SAYS not in build["log"]
        # The last one found it there.
        assert not any("Building the runtime" in str(event) for event in api.events(run["id"]))


@pytest.mark.parametrize("whom", ["worker", "engine"])
def test_kills_between_two_runtimes_lose_no_run_and_end_none_twice(
    bench: Bench, shades: list[dict[str, Any]], receiver: Receiver, whom: str
) -> None:
    """Of the worker, or of any process that it has for engines, while an engine of one runtime follows another's."""
    chosen = random.Random(whom)
    expected = [int(version) for version in SHADES] * 2
    with Runflow(bench.platform.url, bench.key) as api:
        ended = []
        for after in range(ROUNDS):
            # No run is hit in two rounds, for it has three attempts.
            runs = [api.submit(one["path"], {}, callback_url=receiver.url)["id"] for one in shades * 2]
            until(lambda: api.get_run(runs[after])["status_code"] == "succeeded", "a run before the switch", 300)  # noqa: B023
            victim = until(bench.platform.worker, "a worker")
            if whom == "engine":
                victim = chosen.choice(until(lambda: victim.children(recursive=True), "processes of engines"))  # noqa: B023
            victim.kill()
            found = [api.wait(run, timeout=300) for run in runs]
            assert [level(run) for run in found] == expected
            assert [len(run["output"]["outputs"]) for run in found] == [1] * len(found)
            ended += runs
        until(lambda: len(receiver.bodies) >= len(ended), "every callback")
        assert sorted(body["run_id"] for body in receiver.bodies) == sorted(ended)


def test_a_pack_that_does_not_work_ends_its_run_with_its_name_and_log(bench: Bench) -> None:
    packs = bench.pack("broken", imports="import a_module_that_nobody_declares")
    with Runflow(bench.platform.url, bench.key) as api:
        deployed = api.deploy("broken", shown("broken"), custom_nodes=packs, environment={"comfyui": COMFYUI})
        with pytest.raises(RunFailed) as failed:
            api.wait(api.submit(deployed["path"], {})["id"], timeout=FIRST_BUILD_SECONDS)
        run = failed.value.run
        assert run["failure_code"] == "RUNTIME_BUILD_FAILED"
        assert "broken" in run["failure_message"] and "a_module_that_nobody_declares" in run["failure_message"]
        assert any("a_module_that_nobody_declares" in str(event) for event in api.events(run["id"]))
        (build,) = bench.runtime(deployed["id"])["builds"]
        assert (build["succeeded"], build["step"], build["pack"]) == (False, "check", "broken")
        # Nobody waits again for what cannot be had, and the worker goes on with what it can do.
        with pytest.raises(RunFailed):
            api.wait(api.submit(deployed["path"], {})["id"], timeout=120)
        plain = api.deploy("plain", PLAIN)
        assert api.wait(api.submit(plain["path"], {})["id"], timeout=300)["status_code"] == "succeeded"

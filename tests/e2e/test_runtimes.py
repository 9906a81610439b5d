"""Versions that need another ComfyUI than the worker has: it is built from what their manifest names, and runs them."""

import io
from typing import Any

import httpx
import pytest
from PIL import Image

from runflow.client import RunFailed, Runflow
from tests.support.runtime_bench import COMFYUI, FIRST_BUILD_SECONDS, INSTALLER_SAYS, PLAIN, Bench, shown


def level(run: dict[str, Any]) -> int:
    """Return how light a run's picture is."""
    picture = httpx.get(run["output"]["outputs"][0]["url"], verify=False)
    with Image.open(io.BytesIO(picture.content)) as image:
        pixel = image.convert("RGB").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return int(pixel[0])


def test_versions_with_packages_that_exclude_each_other_alternate_on_one_worker(bench: Bench) -> None:
    with Runflow(bench.platform.url, bench.key) as api:
        paths = []
        for name, version in (("dark", 40), ("light", 200)):
            packs = bench.pack(name, requires=f"shade=={version}\n", imports="import shade", value="shade.level")
            deployed = api.deploy(name, shown(name), custom_nodes=packs, environment={"comfyui": COMFYUI})
            assert deployed["can_run"] is True, deployed
            paths.append(deployed)
        levels = []
        for one in paths * 3:
            run = api.wait(api.submit(one["path"], {})["id"], timeout=FIRST_BUILD_SECONDS)
            levels.append(level(run))
        assert levels == [40, 200] * 3
        for one in paths:
            (build,) = bench.runtime(one["id"])["builds"]
            assert build["succeeded"] and "Starting ComfyUI" in build["log"], build
            assert INSTALLER_SAYS not in build["log"]
        # The last one found it there.
        assert not any("Building the runtime" in str(event) for event in api.events(run["id"]))


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

"""A workflow that ends its engine whenever it is run."""

import httpx
import pytest

from runflow.client import RunFailed, Runflow
from tests.support import e2e_prompts
from tests.support.platform_fixtures import Platform

pytestmark = pytest.mark.e2e


def test_an_engine_that_dies_of_a_run_again_and_again_fails_that_run_with_the_reason(
    api: Runflow, platform: Platform, platform_key: str
) -> None:
    path = api.deploy("ending", e2e_prompts.ending())["path"]
    good = api.deploy("sleep", e2e_prompts.sleep(0.1))["path"]
    run = api.submit(path, {})
    with pytest.raises(RunFailed) as failed:
        api.wait(run["id"], timeout=600)
    assert failed.value.run["failure_code"] == "ENGINE_CRASHED"
    # A try is what reached the engine: what a worker gives back because its engine is not up yet is none.
    url = f"{platform.url}/v1/runs/{run['id']}/attempts"
    attempts = httpx.get(url, headers={"Authorization": f"Bearer {platform_key}"}, timeout=30).json()["items"]
    assert [one["failure_code"] for one in attempts if one["status_code"] == "failed"] == ["ENGINE_CRASHED"] * 3
    assert api.wait(api.submit(good, {"colour": 1})["id"], timeout=300)["status_code"] == "succeeded"

"""Runs find the cheapest GPU that is large enough, on two workers that say to be of different classes.

Their engines compute on the processor, so what a run needs is what its process has resident.
"""

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from runflow.client import Runflow
from runflow.workflows.runtime.known import REMEMBER_SECONDS
from tests.support.e2e_prompts import Prompt, node, output
from tests.support.platform_fixtures import Platform, give_test_nodes, have_plenty, new_home, remove, until

SMALL, LARGE = "SMALL", "LARGE"
SMALL_GIB, LARGE_GIB = 2, 16
PRICES = {SMALL: "1.000000", LARGE: "2.000000"}
GIB = 1 << 30


@pytest.fixture(scope="module")
def fleet(comfyui_dir: Path) -> Iterator[Platform]:
    """An installation whose own worker is of the large class."""
    started = Platform(new_home(), comfyui_dir, arguments=("--gpu", f"{LARGE}:{LARGE_GIB}"))
    give_test_nodes(started.home)
    have_plenty(started.home)
    try:
        started.start()
        yield started
    finally:
        remove(started)


@pytest.fixture(scope="module")
def key(fleet: Platform) -> str:
    return fleet.key()


@pytest.fixture
def http(fleet: Platform, key: str) -> Iterator[httpx.Client]:
    """A client with every right."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{fleet.url}/v1", headers=headers, timeout=60, trust_env=False) as client:
        yield client


def remembering(mebibytes: int = 1, *, needs_plenty: bool = False) -> Prompt:
    """Has so much in memory, and fails where a GPU is not of the large class if it needs that."""
    return {"1": node("TestMemory", "Hungry", mebibytes=mebibytes, needs_plenty=needs_plenty), "9": output("1")}


def priced(http: httpx.Client, code: str) -> bool:
    """Tell whether a class is known by now, and say what it costs."""
    return http.patch(f"/gpus/{code}", json={"price_per_second": PRICES[code]}).is_success


def test_runs_go_to_the_cheapest_class_that_is_large_enough_and_learn_which_that_is(
    fleet: Platform, key: str, http: httpx.Client
) -> None:
    with Runflow(fleet.url, key) as api:

        def ran(path: str) -> tuple[list[tuple[str, str]], dict[str, Any]]:
            run = api.wait(api.submit(path, {})["id"], timeout=300)
            read = http.get(f"/runs/{run['id']}?embed=attempts").raise_for_status().json()
            return [(one["gpu_code"], one["status_code"]) for one in read["attempts"]], read

        until(lambda: priced(http, LARGE), "the large class")
        modest = api.deploy("modest", remembering())
        tried, run = ran(modest["path"])
        assert tried == [(LARGE, "succeeded")], "there is no other"
        assert 0 < run["attempts"][0]["peak_memory_bytes"] < SMALL_GIB * GIB

        with fleet.joined("small", "--gpu", f"{SMALL}:{SMALL_GIB}", test_nodes=True):
            until(lambda: priced(http, SMALL), "the small class")

            def know() -> bool:
                workers = http.get(f"/comfyui-workflows/{modest['id']}/runtime").json()["workers"]
                return len([one for one in workers if one["tells_abilities"] and one["can_run"]]) == 2

            until(know, "that both can run it")
            known_at = time.monotonic()
            until(lambda: time.monotonic() > known_at + 2 * REMEMBER_SECONDS, "that nobody remembers it without them")
            # What it needed on the dear one is known: the cheap one has that.
            assert ran(modest["path"])[0] == [(SMALL, "succeeded")]

            large = api.deploy("large", remembering(SMALL_GIB << 10))["path"]
            assert ran(large)[0] == [(SMALL, "succeeded")], "nothing was known of it"
            assert ran(large)[0] == [(LARGE, "succeeded")], "the small one's memory is less than what it took"

            hungry = api.deploy("hungry", remembering(needs_plenty=True))["path"]
            tried, run = ran(hungry)
            assert tried == [(SMALL, "failed"), (LARGE, "succeeded")]
            assert run["attempts"][0]["failure_code"] == "OUT_OF_MEMORY"
            took = [(one["load_ms"] + one["execute_ms"], PRICES[one["gpu_code"]]) for one in run["attempts"]]
            assert Decimal(run["cost"]) == sum(Decimal(ms) / 1000 * Decimal(price) for ms, price in took) > 0
            assert ran(hungry)[0] == [(LARGE, "succeeded")], "it is not tried again where it ran out"

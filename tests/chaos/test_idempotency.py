"""kill -9 of the server amid requests with an Idempotency-Key: whoever repeats them gets exactly one of each."""

import random
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support.deployed import PROMPT
from tests.support.platform_fixtures import Platform, installation, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

ROUNDS = 3
CALLERS = 8


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with installation(None, arguments=("--no-worker",)) as started:
        yield started


def test_each_key_makes_one_run_whatever_dies_when(platform: Platform) -> None:
    headers = {"Authorization": f"Bearer {platform.key()}"}
    with httpx.Client(base_url=f"{platform.url}/v1", headers=headers, timeout=30) as client:
        each_key_makes_one_run(platform, client)


def each_key_makes_one_run(platform: Platform, client: httpx.Client) -> None:
    deployed = client.post("/comfyui-workflows", json={"name": "Portrait", "workflow_json": PROMPT})
    runs = f"/comfyui-workflows/{deployed.json()['path']}/runs"

    def call(name: str) -> httpx.Response | None:
        body = {"input": {"prompt": "an otter"}, "client_ref": name}
        try:
            return client.post(runs, json=body, headers={"Idempotency-Key": name})
        except httpx.TransportError:
            return None

    names = []
    for round_ in range(ROUNDS):
        stop = threading.Event()

        def send(caller: int, round_: int = round_, stop: threading.Event = stop) -> None:
            number = 0
            while not stop.is_set():
                name = f"{round_}-{caller}-{number}"
                names.append(name)
                if call(name) is None:
                    return
                number += 1

        callers = [threading.Thread(target=send, args=(caller,)) for caller in range(CALLERS)]
        for thread in callers:
            thread.start()
        under_way = len(names) + 2 * CALLERS
        until(lambda enough=under_way: len(names) > enough, "requests under way")  # type: ignore[misc]
        time.sleep(random.uniform(0, 0.5))
        platform.kill()
        stop.set()
        for thread in callers:
            thread.join()
        platform.start()
    answers = {}
    for name in names:
        answer = call(name)
        assert answer is not None and answer.status_code == 201, answer and answer.text
        answers[name] = answer.json()["id"]
        assert answer.json()["client_ref"] == name
    found = []
    cursor = None
    while True:
        query = {"limit": "500", "fields": "id,client_ref"} | ({"pq": cursor} if cursor else {})
        page = client.get(runs, params=query).json()
        found += [(run["client_ref"], run["id"]) for run in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(found) == sorted(answers.items()), "one run for each key, the one that every answer names"
    assert len(names) > ROUNDS * CALLERS

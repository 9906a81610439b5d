"""kill -9 of a worker that prepares a version: another one takes it up, once, and what was fetched is there once."""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from runflow.accounts.keys import service as keys
from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.e2e_prompts import node, output
from tests.support.http_server import QuietHandler, serving
from tests.support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PROMPT = {"1": node("EmptyImage", width=8, height=8, batch_size=1, color=0), "9": output("1")}


class Host:
    """Serves one model, to nobody before it is let go on."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go = threading.Event()


@pytest.fixture
def host() -> Iterator[tuple[Host, str]]:
    made = Host()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            made.asked.set()
            made.go.wait(300)
            with contextlib.suppress(OSError):  # whoever asked may be dead by now
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                self.wfile.write(CONTENT)

    with serving(Handler) as url:
        yield made, f"{url}/a.safetensors"
        made.go.set()


class Machines:
    """Workers of one name and one home, in processes of their own."""

    def __init__(self, home: Path, comfyui: Path, server: str, token: str, gpu: str) -> None:
        self.home = home
        (home / "token").write_text(token)
        (home / "token").chmod(0o600)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNFLOW_")}
        settings = {"HOME": str(home), "COMFYUI": str(comfyui), "ALLOWED_NETWORKS": "127.0.0.0/8"}
        self._environment = {**kept, **{f"RUNFLOW_{name}": value for name, value in settings.items()}}
        words = ["--server", server, "--token-file", str(home / "token"), "--name", f"box-{gpu}", "--gpu", gpu]
        self._command = [sys.executable, "-m", "runflow", "worker", *words]
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        with (self.home / "worker.log").open("ab") as log:
            made = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        self._started.append(made)
        return made

    def log(self) -> str:
        return (self.home / "worker.log").read_text(errors="replace")

    def end(self) -> None:
        for one in self._started:
            if one.poll() is None:
                children = psutil.Process(one.pid).children(recursive=True)
                one.kill()
                for child in children:
                    child.kill()
            one.wait()


async def test_a_killed_worker_loses_it_and_another_takes_it_up_once(
    services: Services,
    own_address: str,
    operator: httpx.AsyncClient,
    comfyui_dir: Path,
    host: tuple[Host, str],
    tmp_path: Path,
) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    files, url = host
    async with services.db.system() as transaction:
        _, token = await keys.create_worker_token(transaction, "test")
    machines = Machines(tmp_path, comfyui_dir, own_address, token, gpu)
    body: dict[str, Any] = {"name": f"Ahead {gpu}", "workflow_json": PROMPT, "prebuild": True}
    body |= {"gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
    body |= {"models": {"loras/a.safetensors": {"url": url, "sha256": SHA256}}}
    answer = await operator.post("/v1/comfyui-workflows", json=body)
    assert answer.status_code == 201, answer.text
    path = f"/v1/comfyui-workflows/{answer.json()['id']}"

    async def shown() -> dict[str, Any]:
        return dict((await operator.get(f"{path}/runtime")).json()["prebuild"])

    async def state(wanted: str) -> dict[str, Any] | None:
        found = await shown()
        return found if found["state_code"] == wanted else None

    try:
        first = machines.start()
        await until(files.asked.is_set, seconds=240)
        assert (await shown())["state_code"] == "building"
        first.kill()
        first.wait()
        files.asked.clear()
        second = machines.start()
        # The next one lives before the lease of the dead one is over.
        await until(lambda: machines.log().count('"status": "ready"') >= 2, seconds=240, every=0.1)
        assert not files.asked.is_set()
        async with services.db.system() as transaction:
            await transaction.run(
                "UPDATE prebuilds SET lease_expires_at = now() WHERE workflow_id = %(id)s",
                {"id": path.rpartition("/")[2]},
            )
        services.hub.publish("prebuilds")
        await until(files.asked.is_set, seconds=60)
        files.go.set()
        ready = dict(await until(lambda: state("ready"), seconds=60))
        assert (ready["tries"], ready["worker"]) == (2, f"box-{gpu}")
        assert second.poll() is None
        stored = [one for one in tmp_path.rglob(SHA256) if one.is_file() and one.parent.name == "models"]
        assert [hashlib.sha256(one.read_bytes()).hexdigest() for one in stored] == [SHA256]
    finally:
        files.go.set()
        await asyncio.to_thread(machines.end)

"""`scripts/bench models`: what a run reads from the disk for a model that lies in the store.

Two versions alternate, each with a model of its own, so ComfyUI loads one at each run. Budget: within ten runs a model
costs no second read from the disk, for it is in the page cache. The floor is the first run, which fetches and writes
it; the last row shows that the measure sees a read: the page cache was told to forget the models before it.
"""

import argparse
import contextlib
import hashlib
import json
import math
import os
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from benchmarks.installation import Running, installation
from runflow.client import Runflow

CONVOLUTIONS, SCALE = 20, 2
NAMES = ("one", "two")


def main() -> None:
    """Alternate, and print what each run read and how long it took."""
    parser = argparse.ArgumentParser(description="Measure what models in the store cost.")
    parser.add_argument("--runs", type=int, default=10, help="of each version")
    parser.add_argument("--features", type=int, default=512, help="of the model's layers; 512: 190 MB")
    given = parser.parse_args()
    files = {f"/{name}.safetensors": _upscaler(name, given.features) for name in NAMES}
    size = len(next(iter(files.values())))
    environment = {"RUNFLOW_ALLOWED_NETWORKS": "127.0.0.0/8"}
    with _hosting(files) as host, installation(environment=environment) as running:
        api = Runflow(running.url, running.key)
        hashes = [hashlib.sha256(content).hexdigest() for content in files.values()]
        paths = [_deploy(api, host, name, sha256) for name, sha256 in zip(NAMES, hashes, strict=True)]
        print(f"models of {size / 1e6:.0f} MB, read from the disk by the worker and its engines, and seconds")
        print(f"| run | {' | '.join(NAMES)} |\n| --- |{' --- |' * len(NAMES)}")
        for number in range(1, given.runs + 1):
            _row(str(number), [_run(api, running, path) for path in paths])
        _forget(running.home, size)
        _row("forgotten before it", [_run(api, running, path) for path in paths])


def _row(what: str, cells: list[tuple[int, float]]) -> None:
    told = " | ".join(f"{read / 1e6:.1f} MB, {seconds:.1f} s" for read, seconds in cells)
    print(f"| {what} | {told} |", flush=True)


def _run(api: Runflow, running: Running, path: str) -> tuple[int, float]:
    """Return the bytes that worker and engines had read from the disk in a run, and its seconds."""
    before, began = _read_bytes(running), time.perf_counter()
    api.wait(api.submit(path, {}), timeout=600)
    seconds, after = time.perf_counter() - began, _read_bytes(running)
    return sum(count - before.get(pid, 0) for pid, count in after.items()), seconds


def _read_bytes(running: Running) -> dict[int, int]:
    """Return by process what it had the disk read; what the page cache had does not count."""
    found = {}
    parts = running.parts()
    for process in (*parts["worker"], *parts["engine"]):
        with contextlib.suppress(psutil.Error):
            found[process.pid] = int(process.io_counters().read_bytes)
    return found


def _deploy(api: Runflow, host: str, name: str, sha256: str) -> str:
    prompt = {
        "1": _node("EmptyImage", width=8, height=8, batch_size=1, color=0xFF0000),
        "2": _node("UpscaleModelLoader", model_name=f"{name}.safetensors"),
        "3": _node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "9": _node("RunflowOutputImage", output_id="picture", output_name="", value=["3", 0]),
    }
    declared = {"url": f"{host}/{name}.safetensors", "sha256": sha256}
    models = {f"upscale_models/{name}.safetensors": declared}
    return str(api.deploy(f"bench-{name}", prompt, models=models)["path"])


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def _forget(home: Path, size: int) -> None:
    """Have the page cache forget the models."""
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size == size:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _upscaler(name: str, features: int) -> bytes:
    """Return a SRVGGNetCompact (Real-ESRGAN's small architecture) whose weights are zero; `name` makes it another."""
    shapes: dict[str, tuple[int, ...]] = {"body.0.weight": (features, 3, 3, 3), "body.0.bias": (features,)}
    shapes["body.1.weight"] = (features,)
    for layer in range(2, 2 + 2 * CONVOLUTIONS, 2):
        shapes[f"body.{layer}.weight"] = (features, features, 3, 3)
        shapes[f"body.{layer}.bias"] = (features,)
        shapes[f"body.{layer + 1}.weight"] = (features,)
    last = 2 + 2 * CONVOLUTIONS
    shapes |= {f"body.{last}.weight": (3 * SCALE**2, features, 3, 3), f"body.{last}.bias": (3 * SCALE**2,)}
    header: dict[str, Any] = {"__metadata__": {"note": name}}
    end = 0
    for key, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(end)


@contextlib.contextmanager
def _hosting(files: dict[str, bytes]) -> Iterator[str]:
    """Serve files on the loopback, until the end of the block; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self.wfile.write(self._answer())

        def _answer(self) -> bytes:
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            return content or b""

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

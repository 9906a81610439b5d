"""`scripts/bench runtimes`: what a runtime costs in seconds and bytes, beside the first one and beside a plain boot.

Packs lie in local repositories, and everything else is real: git, uv, torch, ComfyUI and the sandbox. Budgets:
a second runtime with equal packages has 10 MB of its own; without looking whether it works it is there in 1.5 s.
"""

import argparse
import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runflow.worker.runtime.build.builder import RuntimeBuilder
from runflow.worker.runtime.build.manifest import ComfyAsk, PackAsk, RuntimeAsk
from runflow.worker.runtime.build.workshop import Workshop

_NODE = """
class {name}:
    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{}}}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "make"
    CATEGORY = "bench"

    def make(self):
        return (1,)


NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
"""


def main() -> None:
    """Build three runtimes, each at most a few packages away from the one before, and print what each cost."""
    parser = argparse.ArgumentParser(description="Measure what runtimes cost.")
    parser.add_argument("--version", default="0.30.0", help="of ComfyUI")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="runflow-bench-"))
    try:
        asyncio.run(_measure(folder, given.version))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _measure(folder: Path, version: str) -> None:
    workshop = Workshop(folder / "runtimes", allowed_prefixes=(folder.as_uri(),))
    builder = RuntimeBuilder(workshop)
    asks = {
        "the first runtime, with torch": _pack(folder, "one"),
        "a second one with equal packages": _pack(folder, "two"),
        "one with a package more": _pack(folder, "three", "deepdiff\n"),
    }
    print("| runtime | until it is looked at | the look | own bytes | environment's own bytes |")
    print("| --- | --- | --- | --- | --- |")
    for number, (what, pack) in enumerate(asks.items()):
        name = f"bench-{number:012}"
        steps: list[tuple[float, str]] = []
        began = time.perf_counter()
        ask = RuntimeAsk(ComfyAsk(version=version), (pack,), {}, (*pack.classes, "KSampler"))
        built = await builder.ready(name, ask, tell=_noting(steps, began))
        whole = time.perf_counter() - began
        look = next(at for at, text in steps if text.startswith("Starting ComfyUI"))
        own = next(size.own_bytes for size in workshop.runtimes.list() if size.runtime.fingerprint == name)
        sizes = {size.runtime.folder: size.own_bytes for size in workshop.environments.list()}
        environment = sizes[built.environment.parent]
        print(
            f"| {what} | {look:.1f} s | {whole - look:.1f} s | {own / 1e6:.1f} MB | {environment / 1e6:.1f} MB |",
            flush=True,
        )


def _noting(steps: list[tuple[float, str]], began: float) -> Callable[[str], None]:
    return lambda text: steps.append((time.perf_counter() - began, text))


def _pack(folder: Path, name: str, requires: str = "") -> PackAsk:
    """Commit a pack with one node to a repository of its own."""
    place = folder / name
    place.mkdir()
    (place / "__init__.py").write_text(_NODE.format(name=name.title()))
    if requires:
        (place / "requirements.txt").write_text(requires)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], ["add", "--all"], [*identity, "commit", "--quiet", "-m", "pack"]):
        subprocess.run(["git", "-C", str(place), *words], check=True)
    head = subprocess.run(["git", "-C", str(place), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return PackAsk(name, place.as_uri(), head.stdout.strip(), (name.title(),))

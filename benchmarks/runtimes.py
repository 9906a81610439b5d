"""`scripts/bench runtimes`: what a runtime costs in seconds and bytes, beside the first one and beside a plain boot.

Packs lie in local repositories, and everything else is real: git, uv, torch, ComfyUI and the sandbox. Budgets:
a second runtime with equal packages has 10 MB of its own and is there in 1.5 s, looked at; a pack without packages is
built in 5 s; the first call of a version whose runtime is prepared takes 1 s more than the next one.
"""

import argparse
import asyncio
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.runtime.build.builder import BuiltRuntime, RuntimeBuilder
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

_PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
}


def main() -> None:
    """Build five runtimes, each at most a few packages away from the one before, and print what each cost."""
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
        "a third one": _pack(folder, "three"),
        "one with a package more": _pack(folder, "four", "deepdiff\n"),
        "the next one with those": _pack(folder, "five", "deepdiff\n"),
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
    await builder.close()
    print("\n| first call of its version | first | the next | difference |\n| --- | --- | --- | --- |")
    for what, is_prepared in (("prepared when it was built", True), ("with a proof, not prepared", False)):
        first, warm = await _first_call(built, folder, is_prepared=is_prepared)
        print(f"| {what} | {first:.2f} s | {warm:.2f} s | {first - warm:.2f} s |", flush=True)


async def _first_call(built: BuiltRuntime, folder: Path, *, is_prepared: bool) -> tuple[float, float]:
    """Return what the first call of an engine of a runtime took, and the one after it, in seconds."""
    settings = OwnedSettings(
        built.comfyui,
        folder / f"engines-{is_prepared}",
        python=built.python,
        enclosed=True,
        network=False,
        is_strangers=True,
        more_folders=lambda: (built.environment,),
        proofs=folder / "proofs",
    )
    home = EngineHome(settings)
    engine = OwnedEngine(settings, home)
    try:
        if is_prepared:
            await home.warm(frozenset(built.runtime.record()["node_types"]))
        began = time.perf_counter()
        await engine.start()
        await engine.execute(_PROMPT, str(uuid.uuid4()))
        first, began = time.perf_counter() - began, time.perf_counter()
        await engine.execute(_PROMPT, str(uuid.uuid4()))
        return first, time.perf_counter() - began
    finally:
        await engine.stop()
        await home.close()


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

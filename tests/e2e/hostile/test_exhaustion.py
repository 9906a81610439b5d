"""What an engine can use up: its own share, and then it ends. Its log keeps to its share without that."""

import json
import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runflow.worker.engine.base import EngineError, OutputRef
from runflow.worker.engine.owned import OwnedEngine
from tests.support.comfyui_fixtures import OwnEngine
from tests.support.e2e_prompts import node
from tests.support.hostile_installation import (
    HostileInstallation,
    Loot,
    copied_pack,
    end,
    nothing_got,
    survivors,
)
from tests.support.waiting import until

MEBIBYTE = 2**20
DISK_BYTES = 192 * MEBIBYTE
FILES = 1_000_000
"""So many empty files take more than that in what the disk keeps of each, by any file system's measure."""
MEMORY_BYTES = 2500 * MEBIBYTE
LOG_KIBIBYTES = 256 * 1024


@pytest.fixture
def word() -> Iterator[str]:
    """The word by which an attack's processes are known; whatever has it in the end is ended."""
    made = f"runflow-left-{secrets.token_hex(6)}"
    yield made
    end(survivors(made))


async def exhaust(engine: OwnedEngine, staging: Path, name: str, **given: Any) -> Loot | None:
    """Run an attack on an engine of the test's own; None where the engine was ended for it."""
    prompt = {
        "4": node("RunflowHostile", name=name, parameters=json.dumps(given), filename_prefix="run/loot"),
        "5": node("RunflowOutputFile", output_id="loot", output_name="", value=["4", 0]),
    }
    try:
        execution = await engine.execute(prompt, str(uuid.uuid4()))
    except EngineError:
        return None
    assert execution.error is None, execution.error
    with await engine.open_output(OutputRef("loot.json", "run", "output"), staging) as opened:
        return dict(json.loads(opened.read(opened.size_bytes, 0)))


async def small_engine(own_engine: OwnEngine, base: Path) -> OwnedEngine:
    """Start an engine that holds the pack, and may use little."""
    copied_pack(base / "custom_nodes")
    limits = {"disk_limit_bytes": DISK_BYTES, "memory_limit_bytes": MEMORY_BYTES}
    return await own_engine(base_dir=base, enclosed=True, network=False, **limits)


async def test_files_without_end_end_the_engine_or_at_its_share(own_engine: OwnEngine, tmp_path: Path) -> None:
    engine = await small_engine(own_engine, tmp_path / "engine")
    loot = await exhaust(engine, tmp_path / "staging", "fill-the-disk", most_bytes=3 * DISK_BYTES)
    if loot is not None:
        nothing_got("fill-the-disk", loot)


async def test_files_without_number_end_the_engine(own_engine: OwnEngine, tmp_path: Path) -> None:
    engine = await small_engine(own_engine, tmp_path / "engine")
    loot = await exhaust(engine, tmp_path / "staging", "many-files", most_files=FILES)
    if loot is not None:
        nothing_got("many-files", loot)


async def test_memory_of_a_child_that_left_counts(own_engine: OwnEngine, tmp_path: Path, word: str) -> None:
    engine = await small_engine(own_engine, tmp_path / "engine")
    loot = await exhaust(
        engine, tmp_path / "staging", "memory-hog", most_memory=MEMORY_BYTES + 256 * MEBIBYTE, word=word
    )
    if loot is not None:
        nothing_got("memory-hog", loot)
    await until(lambda: not survivors(word))


def test_the_log_of_an_engine_is_bounded(hostile: HostileInstallation) -> None:
    nothing_got("flood-the-log", hostile.attacker.attack("flood-the-log", {"log_kilobytes": LOG_KIBIBYTES}))
    kept = sum(path.stat().st_size for path in (hostile.platform.home / "workers").rglob("engine.log*"))
    assert kept < LOG_KIBIBYTES * 1024 / 3
    nothing_got("environment", hostile.victim.attack("environment", hostile.given()))

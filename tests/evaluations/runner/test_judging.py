"""Judging processes: what kills one of them harms nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runflow.evaluations.runner.judging import STEP_SECONDS, ImageRefused, JudgingFailed, JudgingPool, judging_pool
from runflow.sandbox.process import ConfinedProcess
from tests.support import picture_corpus
from tests.support.judge_plugins import install_plugin

BUILT_IN = ["broken_output", "blur", "exposure", "noise"]
PASSES = "return Verdict(True, 1.0, 'fine')"


@pytest.fixture
async def pool() -> AsyncIterator[JudgingPool]:
    async with judging_pool(1, step_seconds=60) as made:
        yield made


class ShortForOne(JudgingPool):
    """Gives the judge `a_hang` one second; what the others need depends on the machine."""

    async def _receive(self, process: ConfinedProcess) -> dict[str, Any]:
        try:
            message = await super()._receive(process)
        finally:
            self._step_seconds = STEP_SECONDS
        if message.get("begin") == "a_hang":
            self._step_seconds = 1
        return message


def job(folder: Path, **more: Any) -> dict[str, Any]:
    if not (folder / "image").exists():
        picture_corpus.good("portrait", 1, 256, 256).save(folder / "image", "PNG")
    texts = dict.fromkeys(("task_description", "generation_prompt", "evaluation_instructions", "input_attributes"))
    return {"folder": str(folder), "image": "image", "references": [], "task_type": "image", **texts, **more}


def plugins(monkeypatch: pytest.MonkeyPatch, folder: Path, **judges: str) -> None:
    """Let judging processes find these judges."""
    package = folder / "package"
    package.mkdir()
    install_plugin(package, judges)
    monkeypatch.setenv("PYTHONPATH", str(package))


def names(verdicts: list[dict[str, Any]]) -> list[str]:
    return [verdict["name"] for verdict in verdicts]


async def test_one_process_does_many_jobs_and_tells_the_size(pool: JudgingPool, tmp_path: Path) -> None:
    for _ in range(3):
        found = await pool.judge(job(tmp_path))
        assert (names(found.verdicts), found.size) == (BUILT_IN, (256, 256))
    assert pool.running == 1


async def test_a_judge_that_crashes_its_process_is_left_out(
    pool: JudgingPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins(monkeypatch, tmp_path, a_crash="os.kill(os.getpid(), 11)", b_fine=PASSES)
    found = await pool.judge(job(tmp_path))
    assert names(found.verdicts) == [*BUILT_IN, "a_crash", "b_fine"]
    crashed = found.verdicts[4]
    assert crashed["passed"] is None and "signal 11" in crashed["reasoning"]
    assert found.verdicts[5]["passed"] is True


async def test_a_judge_that_hangs_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins(monkeypatch, tmp_path, a_hang="time.sleep(600)", b_fine=PASSES)
    pool = ShortForOne(1)
    try:
        found = await pool.judge(job(tmp_path))
    finally:
        await pool.close()
    assert found.verdicts[4]["passed"] is None and "longer than 1 seconds" in found.verdicts[4]["reasoning"]
    assert found.verdicts[5]["passed"] is True


async def test_a_judge_that_raises_prints_or_eats_memory_is_contained(
    pool: JudgingPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins(
        monkeypatch,
        tmp_path,
        a_raise="raise KeyError('x')",
        b_print="print('{}'); sys.stdout.flush(); " + PASSES,
        c_memory="bytearray(64 * 1024 ** 3)",
        d_wild="return Verdict(True, float('nan'), 'wild', (Issue('a\\0b', 'c', '\\ud800'),))",
        e_severity="return Verdict(True, 1.0, 'x', (Issue('a', 'b', 'c', 'dreadful'),))",
    )
    found = await pool.judge(job(tmp_path))
    said = {verdict["name"]: verdict for verdict in found.verdicts}
    assert said["a_raise"]["passed"] is None and "KeyError" in said["a_raise"]["reasoning"]
    assert said["b_print"]["passed"] is True
    assert said["c_memory"]["passed"] is None and "MemoryError" in said["c_memory"]["reasoning"]
    assert said["d_wild"]["score"] == 0.0
    assert said["d_wild"]["issues"] == [{"category": "ab", "subcategory": "c", "detail": "?", "severity": "medium"}]
    assert said["e_severity"]["passed"] is None and "ValueError" in said["e_severity"]["reasoning"]
    assert pool.running == 1


async def test_the_server_s_settings_and_secrets_stay_in_the_server(
    pool: JudgingPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNFLOW_SECRET_KEY", "x" * 40)
    monkeypatch.setenv("PGPASSWORD", "secret")
    seen = "return Verdict(True, 1.0, ' '.join(name for name in os.environ if name.startswith(('RUNFLOW', 'PG'))))"
    plugins(monkeypatch, tmp_path, a_spy=seen)
    found = await pool.judge(job(tmp_path))
    assert found.verdicts[4]["reasoning"] == ""


async def test_an_image_beyond_the_limit_is_refused(pool: JudgingPool, tmp_path: Path) -> None:
    tiny = b"P6 9000 9000 255\n" + b"\0" * 100
    (tmp_path / "image").write_bytes(tiny)
    with pytest.raises(ImageRefused, match="9000 × 9000"):
        await pool.judge(job(tmp_path))
    assert pool.running == 1


async def test_a_process_that_dies_before_any_judge_fails_the_attempt_and_the_next_one_works(
    pool: JudgingPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins(monkeypatch, tmp_path, a_broken="this is no Python")
    with pytest.raises(JudgingFailed, match="exit code 1"):
        await pool.judge(job(tmp_path))
    assert pool.running == 0
    monkeypatch.delenv("PYTHONPATH")
    assert names((await pool.judge(job(tmp_path))).verdicts) == BUILT_IN


async def test_previews_are_small_copies(pool: JudgingPool, tmp_path: Path) -> None:
    from PIL import Image

    picture_corpus.good("flat_design", 1, 1600, 800).save(tmp_path / "reference", "PNG")
    reference = {"file": "reference", "kind": "input", "description": None}
    await pool.judge(job(tmp_path, references=[reference], preview=True))
    with Image.open(tmp_path / "preview-1.jpg") as preview:
        assert (preview.format, preview.size) == ("JPEG", (1024, 512))
    with Image.open(tmp_path / "preview-0.jpg") as preview:
        assert preview.size == (256, 256)


async def test_a_cancelled_job_leaves_no_half_spoken_process(pool: JudgingPool, tmp_path: Path) -> None:
    task = asyncio.create_task(pool.judge(job(tmp_path)))
    async with asyncio.timeout(60):
        while not pool.running:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert pool.running == 0
    assert names((await pool.judge(job(tmp_path))).verdicts) == BUILT_IN


async def test_idle_processes_are_stopped(tmp_path: Path) -> None:
    async with judging_pool(1, idle_seconds=0.2) as pool:
        await pool.judge(job(tmp_path))
        async with asyncio.timeout(60):
            while pool.running:
                await asyncio.sleep(0.05)


async def test_a_judging_process_ends_with_its_server_even_in_the_middle_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins(monkeypatch, tmp_path, a_hang="time.sleep(600)")
    script = tmp_path / "server.py"
    script.write_text(
        "import asyncio, json, sys\n"
        "from runflow.evaluations.runner.judging import JudgingPool\n"
        "asyncio.run(JudgingPool(1).judge(json.loads(sys.argv[1])))\n"
    )
    import json
    import sys

    server = psutil.Popen([sys.executable, str(script), json.dumps(job(tmp_path))])
    async with asyncio.timeout(60):
        while not (children := server.children()):
            await asyncio.sleep(0.05)
        (child,) = children
        while child.status() != psutil.STATUS_SLEEPING or "process" not in " ".join(child.cmdline()):
            await asyncio.sleep(0.05)
    server.kill()
    server.wait()
    gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone == [child]

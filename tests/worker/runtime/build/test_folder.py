"""The folder of runtimes that workers share: built once, used, evicted; and what a kill at any step leaves of that."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from runflow.worker.runtime.build.failed import RuntimeBuildFailed
from runflow.worker.runtime.build.folder import RuntimeInUse, RuntimeMissing, Runtimes
from tests.support.source import ROOT
from tests.worker.runtime.build.shared_folder import EVICTED, is_whole, make

ONE, TWO, THREE = "1" * 16, "2" * 16, "3" * 16
SEEDS = 50


def marked(folder: Path) -> Path:
    """Make the folder of what builds write down."""
    (folder / "marks").mkdir()
    return folder / "marks"


def started(folder: Path, *fingerprints: str, die_at: int = 0, deaths: int = 0) -> subprocess.Popen[str]:
    """Start a worker's process."""
    words = [str(folder), str(die_at), str(deaths), *fingerprints]
    command = [sys.executable, "-m", "tests.worker.runtime.build.shared_folder", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return how a process ended, and what it said."""
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


async def made(runtimes: Runtimes, folder: Path, fingerprint: str) -> None:
    """Build a runtime here."""
    await runtimes.build(fingerprint, partial(make, folder / "marks", 0))


async def test_a_build_is_found_when_it_is_whole(tmp_path: Path) -> None:
    runtimes = Runtimes(tmp_path / "runtimes")
    assert runtimes.find(ONE) is None
    assert runtimes.list() == ()
    assert runtimes.evict() == ()

    async def building(part: Path) -> dict[str, str]:
        assert part.name == f"{ONE}.part"
        assert runtimes.find(ONE) is None
        assert runtimes.list() == ()
        (part / "comfyui").mkdir()
        (part / "build.log").write_text("said")
        return {"python": "3.11"}

    runtime = await runtimes.build(ONE, building)
    assert runtime == runtimes.find(ONE)
    assert runtime.comfyui.is_dir()
    assert runtime.log.read_text() == "said"
    assert runtime.record()["python"] == "3.11"
    assert runtime.record()["fingerprint"] == ONE
    assert not list((tmp_path / "runtimes").glob("*.part"))

    async def never(part: Path) -> None:
        raise AssertionError(part)

    assert await runtimes.build(ONE, never) == runtime


async def test_who_asks_meanwhile_waits_for_the_one_build(tmp_path: Path) -> None:
    marks = marked(tmp_path)
    runtimes = [Runtimes(tmp_path / "runtimes") for _ in range(5)]
    await asyncio.gather(*(made(each, tmp_path, ONE) for each in runtimes))
    assert (marks / "begun").stat().st_size == 1
    assert not (marks / "twice").exists()


async def test_who_waits_can_be_stopped(tmp_path: Path) -> None:
    marked(tmp_path)
    runtimes = Runtimes(tmp_path / "runtimes")
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(part: Path) -> None:
        begun.set()
        await go.wait()

    first = asyncio.create_task(runtimes.build(ONE, slow))
    await begun.wait()
    second = asyncio.create_task(made(runtimes, tmp_path, ONE))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await made(runtimes, tmp_path, ONE)
    found = runtimes.find(ONE)
    assert found is not None
    assert is_whole(found)


async def test_what_failed_for_good_is_not_tried_again_at_once(tmp_path: Path) -> None:
    runtimes = Runtimes(tmp_path / "runtimes")
    tries = []

    async def failing(part: Path, *, is_permanent: bool = True) -> None:
        tries.append(part)
        (part / "build.log").write_text("no wheel")
        raise RuntimeBuildFailed(
            "Pack x has none.", code="NO_WHEEL", step="resolve", pack="x", is_permanent=is_permanent
        )

    for seen in (Runtimes(tmp_path / "runtimes"), runtimes):
        with pytest.raises(RuntimeBuildFailed, match="Pack x has none") as failed:
            await seen.build(ONE, failing)
        assert (failed.value.code, failed.value.step, failed.value.pack) == ("NO_WHEEL", "resolve", "x")
        assert failed.value.log_path is not None
        assert failed.value.log_path.read_text() == "no wheel"
    assert len(tries) == 1
    assert (tmp_path / "runtimes" / f"{ONE}.failed" / "build.failed.json").exists()
    assert runtimes.find(ONE) is None

    with pytest.raises(RuntimeBuildFailed):
        await runtimes.build(ONE, partial(failing, is_permanent=False), force=True)
    with pytest.raises(RuntimeBuildFailed):
        await runtimes.build(ONE, failing)
    with pytest.raises(RuntimeBuildFailed):
        await Runtimes(tmp_path / "runtimes", failed_seconds=0).build(ONE, failing)
    assert len(tries) == 4
    failure = runtimes.failure(ONE)
    assert failure is not None
    assert failure.is_permanent

    marked(tmp_path)
    await runtimes.build(ONE, partial(make, tmp_path / "marks", 0), force=True)
    assert runtimes.failure(ONE) is None


async def test_what_is_known_of_a_failure_goes_by_age_unless_it_is_built_again(tmp_path: Path) -> None:
    runtimes = Runtimes(tmp_path / "runtimes", failed_seconds=0)
    begun, go = asyncio.Event(), asyncio.Event()

    async def failing(part: Path) -> None:
        begun.set()
        await go.wait()
        raise RuntimeBuildFailed("No.", code="X", step="check")

    go.set()
    with pytest.raises(RuntimeBuildFailed):
        await runtimes.build(ONE, failing)
    ((_, failed_at),) = runtimes.failures()
    assert not runtimes.is_building()
    assert not runtimes.forget_failure(ONE, failed_at - 1)
    runtimes.evict()
    assert runtimes.failure(ONE) is not None
    begun.clear()
    go.clear()
    again = asyncio.create_task(runtimes.build(ONE, failing))
    await begun.wait()
    assert runtimes.is_building()
    assert not runtimes.forget_failure(ONE, failed_at)
    go.set()
    with pytest.raises(RuntimeBuildFailed):
        await again
    os.utime(tmp_path / "runtimes" / f"{ONE}.failed", (0, 0))
    runtimes.evict()
    assert runtimes.failures() == ()
    assert not runtimes.forget_failure(ONE, 0.0)


async def test_other_errors_are_no_verdict(tmp_path: Path) -> None:
    marked(tmp_path)
    runtimes = Runtimes(tmp_path / "runtimes")

    async def failing(part: Path) -> None:
        (part / "half").touch()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        await runtimes.build(ONE, failing)
    await made(runtimes, tmp_path, ONE)


def used_at(runtimes: Runtimes, fingerprint: str, ago_days: float) -> None:
    """Let a runtime be used last at that time."""
    at = time.time() - ago_days * 86_400
    os.utime(runtimes.folder / ".locks" / f"{fingerprint}.use", (at, at))


async def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    marked(tmp_path)
    runtimes = Runtimes(tmp_path / "runtimes")
    for ago, fingerprint in enumerate((ONE, TWO, THREE)):
        await made(runtimes, tmp_path, fingerprint)
        used_at(runtimes, fingerprint, ago + 1)
    assert [size.runtime.fingerprint for size in runtimes.list()] == [THREE, TWO, ONE]
    with runtimes.use(THREE):
        pass
    assert [size.runtime.fingerprint for size in runtimes.list()] == [TWO, ONE, THREE]
    each = runtimes.list()[0].own_bytes
    small = Runtimes(tmp_path / "runtimes", most_bytes=2 * each)
    assert [runtime.fingerprint for runtime in small.evict()] == [TWO]
    assert small.evict() == ()
    used_at(runtimes, ONE, 31)
    assert [runtime.fingerprint for runtime in runtimes.evict()] == [ONE]
    used_at(runtimes, THREE, 3000)
    assert Runtimes(tmp_path / "runtimes", most_days=0).evict() == ()


async def test_what_is_used_is_not_removed(tmp_path: Path) -> None:
    marked(tmp_path)
    runtimes = Runtimes(tmp_path / "runtimes", most_bytes=1)
    await made(runtimes, tmp_path, ONE)
    code = (
        "import sys; from pathlib import Path; from runflow.worker.runtime.build.folder import Runtimes\n"
        f"with Runtimes(Path({str(tmp_path / 'runtimes')!r})).use({ONE!r}): print('used', flush=True); sys.stdin.read()"
    )
    user = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    assert user.stdout.readline() == "used\n"
    with runtimes.use(ONE):
        pass
    assert runtimes.evict() == ()
    with pytest.raises(RuntimeInUse, match="is in use"):
        runtimes.remove(ONE)
    user.kill()
    user.communicate()
    runtimes.remove(ONE)
    assert runtimes.find(ONE) is None
    with pytest.raises(RuntimeMissing):
        runtimes.remove(ONE)
    with pytest.raises(RuntimeMissing), runtimes.use(ONE):
        pass


async def test_files_with_other_names_take_nothing_of_their_own(tmp_path: Path) -> None:
    cache = tmp_path / "cached"
    cache.write_bytes(bytes(1 << 20))

    async def linking(part: Path) -> None:
        os.link(cache, part / "linked")
        (part / "own").write_bytes(os.urandom(1 << 16))

    runtimes = Runtimes(tmp_path / "runtimes")
    await runtimes.build(ONE, linking)
    (size,) = runtimes.list()
    assert 1 << 16 <= size.own_bytes < 1 << 19
    assert (1 << 20) + (1 << 16) <= size.apparent_bytes < (1 << 20) + (1 << 17)


async def test_what_kills_left_goes_but_not_what_is_built(tmp_path: Path) -> None:
    folder = tmp_path / "runtimes"
    for name in (f"{ONE}.part/half", ".removed-1234/half", f"{TWO}/half"):
        (folder / name).mkdir(parents=True)
    runtimes = Runtimes(folder)
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(part: Path) -> None:
        begun.set()
        await go.wait()

    task = asyncio.create_task(runtimes.build(THREE, slow))
    await begun.wait()
    assert runtimes.find(TWO) is None
    runtimes.evict()
    assert sorted(path.name for path in folder.iterdir()) == [".locks", TWO, f"{THREE}.part"]
    go.set()
    await task
    await runtimes.build(TWO, slow)
    assert runtimes.find(TWO) is not None


@pytest.mark.parametrize("name", ["", "..", "../../etc", "a/b", "12345678.part", "short", "x" * 200])
def test_a_fingerprint_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no fingerprint"):
        Runtimes(tmp_path).find(name)


@pytest.mark.parametrize("part", range(5))
async def test_a_kill_at_any_step_leaves_nothing_half(tmp_path: Path, part: int) -> None:
    """Ten of the fifty seeds each; what one kill leaves is what the next process finds."""
    marks = marked(tmp_path)
    runtimes = Runtimes(tmp_path / "runtimes")
    code, said = ended(started(tmp_path, ONE, TWO))
    assert code == 0
    steps = int(said)
    killed = 0
    for seed in range(part, SEEDS, 5):
        chosen = random.Random(seed)
        if chosen.random() < 0.5:  # with a runtime to find and to evict, and without
            await made(runtimes, tmp_path, chosen.choice((ONE, TWO)))
        code, _ = ended(started(tmp_path, ONE, TWO, die_at=1 + seed * steps // SEEDS))
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        assert all(is_whole(size.runtime) for size in runtimes.list()), seed
        assert not (marks / "twice").exists()
    assert killed >= 5
    for fingerprint in (ONE, TWO):
        await made(runtimes, tmp_path, fingerprint)
    assert sorted(size.runtime.fingerprint for size in runtimes.list() if is_whole(size.runtime)) == [ONE, TWO]
    runtimes.evict()
    assert sorted(path.name for path in runtimes.folder.iterdir()) == [".locks", ONE, TWO]


@pytest.mark.parametrize("deaths", [0, 1, 3])
async def test_who_waits_goes_on_when_the_one_who_builds_is_killed(tmp_path: Path, deaths: int) -> None:
    marks = marked(tmp_path)
    processes = [started(tmp_path, ONE, deaths=deaths) for _ in range(5)]
    codes = [ended(process)[0] for process in processes]
    assert sorted(codes) == [-signal.SIGKILL] * deaths + [0] * (5 - deaths)
    assert not (marks / "twice").exists()
    assert (marks / "begun").stat().st_size == deaths + 1
    assert (marks / "made").stat().st_size == 1
    assert not list((tmp_path / "runtimes").glob("*.part"))


async def test_many_at_once_that_are_killed_leave_nothing_half(tmp_path: Path) -> None:
    """Some build, some evict, some die in between; in the end each runtime is there and whole, or is built anew."""
    marks = marked(tmp_path)
    chosen = random.Random(7)
    for _ in range(3):
        processes = [started(tmp_path, ONE, TWO, die_at=chosen.choice((0, chosen.randrange(1, 150)))) for _ in range(4)]
        codes = [ended(process)[0] for process in processes]
        assert set(codes) <= {0, -signal.SIGKILL, EVICTED}
        assert not (marks / "twice").exists()
        assert all(is_whole(size.runtime) for size in Runtimes(tmp_path / "runtimes").list())

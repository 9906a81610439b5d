"""All that builds leave goes by age and by size, but for what is in use or a build may be about to use."""

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runflow.worker.runtime.build.disk_use import used_bytes
from runflow.worker.runtime.build.failed import RuntimeBuildFailed
from runflow.worker.runtime.build.folder import Runtimes
from runflow.worker.runtime.build.workshop import Workshop
from tests.support.package_index import build_sdist
from tests.support.small_builds import ONE, TWO, SmallPlace
from tests.support.source import ROOT

DAY = 86_400.0
ALL = {"runtimes": 1, "failures": 1, "environments": 2, "trees": 1, "mirrors": 3, "wheels": 1}


@pytest.fixture
def place(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPlace:
    """A place that is filled; uv's cache is its own."""
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(open_folder / "cache"))
    return SmallPlace(open_folder).fill()


def used_ago(folder: Path, days: float) -> None:
    """Let all that lies in a folder of a workshop be used last at that time."""
    at = time.time() - days * DAY
    for use in (*folder.glob("*.use"), *folder.glob(".locks/*.use"), *folder.glob("*.failed")):
        os.utime(use, (at, at))


def kinds(workshop: Workshop) -> dict[str, int]:
    """Return how many there are of each kind of what builds leave."""
    return {
        "runtimes": len(workshop.runtimes.uses()),
        "failures": len(workshop.runtimes.failures()),
        "environments": len(workshop.environments.uses()),
        "trees": len(workshop.trees.uses()),
        "mirrors": len(workshop.mirrors.uses()),
        "wheels": len(workshop.wheels.uses()),
    }


async def built(place: SmallPlace) -> Workshop:
    """Build a runtime with a package from source, and fail to build another one."""
    build_sdist(place.index, "wget", "3.2")
    await place.build(ONE, place.ask(place.pack("alpha", "wget\n")))
    with pytest.raises(RuntimeBuildFailed):
        await place.build(TWO, place.ask(place.pack("beta", "not-there\n")))
    assert kinds(place.workshop) == ALL
    return place.workshop


async def test_all_that_a_build_leaves_goes_when_nobody_used_it_for_long(place: SmallPlace) -> None:
    workshop = await built(place)
    workshop.evict()
    assert kinds(workshop) == ALL
    for kind in ("runtimes", "environments", "trees", "wheels", "git"):
        used_ago(workshop.folder / kind, 31)
    assert [one.fingerprint for one in workshop.evict()] == [ONE]
    assert set(kinds(workshop).values()) == {0}


async def test_what_takes_too_much_goes_by_its_last_use_and_no_further_than_has_to(place: SmallPlace) -> None:
    workshop = await built(place)
    for days, kind in ((2, "git"), (3, "wheels"), (4, "trees"), (1, "runtimes"), (1, "environments")):
        used_ago(workshop.folder / kind, days)
    used = used_bytes(workshop.folder)
    assert replace(workshop, most_bytes=used).evict() == ()
    assert kinds(workshop) == ALL
    assert replace(workshop, most_bytes=used - 1).evict() == ()
    assert kinds(workshop) == {**ALL, "trees": 0}
    assert [one.fingerprint for one in replace(workshop, most_bytes=1).evict()] == [ONE]
    assert set(kinds(workshop).values()) == {0}
    assert await place.build(ONE, place.ask(place.pack("alpha", "wget\n"))), "what is gone is made again"


async def test_what_a_build_may_be_about_to_use_stays_however_much_it_takes(place: SmallPlace) -> None:
    workshop = await built(place)
    assert [one.fingerprint for one in replace(workshop, most_bytes=1).evict()] == [ONE]
    assert kinds(workshop) == {**ALL, "runtimes": 0, "failures": 0}


async def test_what_another_worker_uses_stays_with_all_that_it_needs(place: SmallPlace) -> None:
    workshop = replace(await built(place), most_bytes=1, most_days=1)
    for kind in ("runtimes", "environments", "trees", "wheels", "git"):
        used_ago(workshop.folder / kind, 31)
    code = (
        "import sys; from pathlib import Path; from runflow.worker.runtime.build.folder import Runtimes\n"
        f"with Runtimes(Path({str(workshop.runtimes.folder)!r})).use({ONE!r}): "
        "print('used', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    user = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert user.stdout is not None
    try:
        assert user.stdout.readline() == "used\n"
        assert workshop.evict() == ()
        ((runtime, _),) = workshop.runtimes.uses()
        for name in ("environment", "torch"):
            assert workshop.environments.find(runtime.record()[name]) is not None
    finally:
        user.kill()
        user.communicate()


async def test_workers_that_make_room_at_once_hinder_no_build(place: SmallPlace) -> None:
    workshop = replace(place.workshop, most_bytes=1)
    building = asyncio.create_task(place.build(ONE, place.ask(place.pack("alpha", "shade\n"))))
    rounds = 0
    while not building.done():
        await asyncio.gather(*(asyncio.to_thread(workshop.evict) for _ in range(3)))
        rounds += 1
    assert (await building).runtime.fingerprint == ONE
    assert rounds > 1


async def test_a_cache_of_our_own_counts_and_goes_unless_somebody_builds(place: SmallPlace) -> None:
    workshop = replace(place.workshop, most_bytes=1)
    kept = workshop.folder / "uv" / "archive-v0" / "kept"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(4096))
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(_: Path) -> None:
        begun.set()
        await go.wait()

    building = asyncio.create_task(Runtimes(workshop.runtimes.folder).build(ONE, slow))
    await begun.wait()
    workshop.evict()
    assert kept.exists()
    go.set()
    await building
    workshop.evict()
    assert not kept.exists()

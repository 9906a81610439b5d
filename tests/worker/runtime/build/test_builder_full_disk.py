"""A disk that is full at any place of a build: it is told as such, what is there goes on, and with room it succeeds."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runflow.worker.runtime.build.failed import RuntimeBuildFailed
from runflow.worker.runtime.build.steps import Step
from tests.support.small_builds import ONE, TWO, SmallPlace, is_whole

MEGABYTES = 128
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
"""Of what a build needs, how much room there is."""


@pytest.fixture
def small_disk(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of its own, on which uv's cache lies, too."""
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    folder = open_folder / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=755", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    monkeypatch.setenv("UV_CACHE_DIR", str(folder / "cache"))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


async def test_a_disk_that_is_full_at_any_place_is_named_and_the_next_try_succeeds(small_disk: Path) -> None:
    place = SmallPlace(small_disk).fill(shutil.copy2)
    older = place.ask(place.pack("alpha", "shade==1.0\n"))
    first = await place.build(ONE, older)
    ask = place.ask(place.pack("beta", "shade==2.0\n"))
    before = free_bytes(small_disk)
    await place.build(TWO, ask)
    needed = before - free_bytes(small_disk)
    ballast = small_disk / "others"
    failed = []
    for share in SHARES:
        forget(place, first.environment.parent.name)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free_bytes(small_disk) - int(share * needed))
        try:
            await place.build(TWO, ask)
        except RuntimeBuildFailed as error:
            assert "No space left on device" in error.message and not error.is_permanent, error.message
            assert error.step in {*Step}
            failed.append(error.step)
        except OSError as error:  # of the folder itself, which the worker tells as the step `folder`
            assert "No space left on device" in str(error)
            failed.append("folder")
        else:  # what is only compiled ahead needs no room
            assert share >= SHARES[-2]
        assert is_whole(first, older)
        assert (await place.build(ONE, older)).comfyui == first.comfyui
        ballast.unlink()
        assert is_whole(await place.build(TWO, ask), ask)
    assert len(failed) >= len(SHARES) - 2 and len({*failed}) > 1, failed


def forget(place: SmallPlace, environment: str) -> None:
    """Remove what the build has made, so that it has to be made again."""
    workshop = place.workshop
    workshop.runtimes.remove(TWO)
    for entry in workshop.environments.folder.iterdir():
        if entry.name.startswith("packages-") and entry.name != environment:
            workshop.environments.remove(entry.name)
    shutil.rmtree(workshop.mirrors.folder)
    shutil.rmtree(workshop.resolutions)
    shutil.rmtree(place.folder / "cache", ignore_errors=True)
    workshop.evict()

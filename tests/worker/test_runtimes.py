"""The runtimes of a worker: built for a lease, refused with a report, used by engines, let go of when idle."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from runflow.graph import Interface
from runflow.protocol.failures import FailureCode
from runflow.protocol.runtimes import BuildOrder, Builds, SourceCommit
from runflow.worker.attempts.lease import Lease
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.pool.engine_supervisor import NoEngine
from runflow.worker.runtime.build.folder import RECORD, RuntimeInUse
from runflow.worker.runtimes import BuildFailed, Ready, WorkerRuntimes, name_of
from tests.support.comfyui_trees import git
from tests.support.small_builds import ONE, TWO, SmallPlace

PROMPT = {"1": {"class_type": "Alpha", "inputs": {}}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPlace:
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return SmallPlace(tmp_path).fill()


@pytest.fixture
def runtimes(place: SmallPlace) -> WorkerRuntimes:
    def settings(built: Any, base: Path) -> OwnedSettings:
        return OwnedSettings(built.comfyui, base, python=built.python)

    bases = place.folder / "engines"
    return WorkerRuntimes(place.builder, bases, settings, builds=Builds.ON, idle_seconds=-1.0)


def leased(
    place: SmallPlace,
    fingerprint: str = ONE,
    *,
    order: BuildOrder | None = BuildOrder(),  # noqa: B008 (it never changes)
    prompt: Mapping[str, Any] = PROMPT,
    own: bool = True,
) -> Lease:
    """A lease whose version asks for the pack alpha."""
    folder = place.folder / "packs/alpha"
    origin = folder.as_uri()
    commit = git(folder, "rev-parse", "HEAD") if folder.is_dir() else place.pack("alpha").commit
    comfyui = {"origin": place.comfyui.origin, "commit": place.comfyui.commit, "version": "1.2.3"}
    return Lease(
        id=str(uuid4()),
        run_id=str(uuid4()),
        domain="organization",
        attempt_number=1,
        version_id=uuid4(),
        fingerprint=fingerprint,
        models_key="",
        prompt=dict(prompt),
        interface=Interface.from_dict({"inputs": [], "outputs": []}),
        values={},
        files={},
        resources=(),
        models=(),
        timeout_seconds=60.0,
        max_output_bytes=1 << 20,
        tracebacks=own,
        build=order,
        manifest={
            "environment": {"comfyui": comfyui},
            "custom_nodes": {"alpha": {"origin": origin, "commit": commit, "classes": ["Alpha"]}},
        },
    )


def sources(lease: Lease) -> list[SourceCommit]:
    """What the lease's version names."""
    manifest = lease.manifest
    rows = [manifest["environment"]["comfyui"], *manifest["custom_nodes"].values()]
    return [SourceCommit(row["origin"], row["commit"]) for row in rows]


async def test_the_first_lease_has_it_built_and_the_next_finds_it(place: SmallPlace, runtimes: WorkerRuntimes) -> None:
    told: list[str] = []
    lease = leased(place)
    ready = await runtimes.ready(lease, told.append)
    report = ready.report
    assert report is not None and report.succeeded and report.fingerprint == ONE
    assert "Looking at alpha." in report.log
    assert told[0].startswith("Building the runtime") and "Fetching the node pack alpha" in " ".join(told)
    again: list[str] = []
    assert await runtimes.ready(lease, again.append) == Ready(ready.name)
    assert again == []
    other = await runtimes.ready(leased(place), again.append)
    assert other.name == ready.name and again == []
    assert other.report is not None and (other.report.runtime, other.report.elapsed_ms) == (ready.name, 0)


async def test_where_a_release_stands_in_for_a_commit_that_is_tried_again_after_a_day(
    place: SmallPlace, runtimes: WorkerRuntimes
) -> None:
    name = (await runtimes.ready(leased(place), print)).name
    record = place.workshop.runtimes.folder / name / RECORD
    facts = orjson.loads(record.read_bytes())
    facts["comfyui"]["commit"] = "1.2.3"
    record.write_bytes(orjson.dumps(facts))
    await runtimes.close_idle(())
    assert (await runtimes.ready(leased(place), print)).name == name
    os.utime(record, (0, 0))
    assert orjson.loads(record.read_bytes())["comfyui"]["commit"] == "1.2.3", "it is new"
    # Its home holds it: engines go on with what they have.
    await runtimes.ready(leased(place), print)
    assert orjson.loads(record.read_bytes())["comfyui"]["commit"] == "1.2.3", "it is in use"
    await runtimes.close_idle(())
    away = place.folder / "away"
    assert place.comfyui.origin is not None
    comfyui = Path(place.comfyui.origin.removeprefix("file://"))
    mirrors = place.workshop.mirrors.folder
    for folder in (comfyui, mirrors):
        folder.rename(away.with_name(f"away-{folder.name}"))
    assert (await runtimes.ready(leased(place), print)).name == name
    assert orjson.loads(record.read_bytes())["comfyui"]["commit"] == "1.2.3", "it cannot be had yet"
    await runtimes.close_idle(())
    shutil.rmtree(mirrors, ignore_errors=True)
    for folder in (comfyui, mirrors):
        away.with_name(f"away-{folder.name}").rename(folder)
    os.utime(record, (0, 0))
    report = (await runtimes.ready(leased(place), print)).report
    assert report is not None and report.succeeded
    assert orjson.loads(record.read_bytes())["comfyui"]["commit"] == place.comfyui.commit
    await runtimes.close()


async def test_a_lease_that_needs_none_is_not_looked_at(place: SmallPlace, runtimes: WorkerRuntimes) -> None:
    assert await runtimes.ready(leased(place, order=None), print) == Ready("")
    assert place.workshop.runtimes.list() == ()


async def test_who_calls_anothers_workflow_does_not_learn_what_it_is_made_of(
    place: SmallPlace, runtimes: WorkerRuntimes
) -> None:
    told: list[str] = []
    await runtimes.ready(leased(place, own=False), told.append)
    assert "alpha" not in " ".join(told) and len(told) == 2


async def test_only_what_is_approved_is_fetched(place: SmallPlace, runtimes: WorkerRuntimes) -> None:
    core, pack = sources(leased(place))
    with pytest.raises(BuildFailed) as failed:
        await runtimes.ready(leased(place, order=BuildOrder(approved=[core])), print)
    assert failed.value.report.waits_for == pack
    assert failed.value.failure.code is FailureCode.RUNTIME_BUILD_FAILED and not failed.value.failure.retryable
    # The same commit of another address is another source.
    fork = SourceCommit("https://example.com/fork", pack.commit)
    with pytest.raises(BuildFailed):
        await runtimes.ready(leased(place, order=BuildOrder(approved=[core, fork])), print)
    decorated = [SourceCommit(f"{one.origin}/", one.commit) for one in (core, pack)]
    assert await runtimes.ready(leased(place, order=BuildOrder(approved=decorated)), print)


async def test_a_manifest_that_cannot_be_built_is_refused_with_its_reason(
    place: SmallPlace, runtimes: WorkerRuntimes
) -> None:
    lease = leased(place)
    lease.manifest["custom_nodes"]["alpha"]["commit"] = "main"
    with pytest.raises(BuildFailed, match="names the commit 'main'") as failed:
        await runtimes.ready(lease, print)
    assert (failed.value.report.step, failed.value.failure.retryable) == ("manifest", False)


async def test_a_class_that_the_runtime_lacks_fails_also_where_it_is_there(
    place: SmallPlace, runtimes: WorkerRuntimes
) -> None:
    lease = leased(place)
    await runtimes.ready(lease, print)
    other = leased(place, prompt=PROMPT | {"2": {"class_type": "Omega", "inputs": {}}})
    with pytest.raises(BuildFailed, match="Omega") as failed:
        await runtimes.ready(other, print)
    assert failed.value.report.step == "check"


async def test_engines_of_a_runtime_share_a_home_that_keeps_it_and_is_let_go_of(
    place: SmallPlace, runtimes: WorkerRuntimes
) -> None:
    name = name_of(runtimes._asked(leased(place)))
    with pytest.raises(NoEngine):
        runtimes.engine(name)
    await runtimes.ready(leased(place), print)
    first, second = runtimes.engine(name), runtimes.engine(name)
    assert first is not second
    assert len(runtimes.homes) == 1
    with pytest.raises(RuntimeInUse):
        place.workshop.runtimes.remove(name)
    await runtimes.close_idle({name})
    assert len(runtimes.homes) == 1
    await runtimes.close_idle(())
    assert runtimes.homes == []
    place.workshop.runtimes.remove(name)
    with pytest.raises(NoEngine):
        runtimes.engine(name)


async def test_a_folder_that_cannot_be_written_is_named_and_tried_again(
    place: SmallPlace, runtimes: WorkerRuntimes
) -> None:
    place.workshop.folder.joinpath("runtimes").write_text("a file stands in its place")
    with pytest.raises(BuildFailed, match="runtimes") as failed:
        await runtimes.ready(leased(place), print)
    assert (failed.value.report.step, failed.value.failure.retryable) == ("folder", True)


async def test_two_runs_wait_for_one_build(place: SmallPlace, runtimes: WorkerRuntimes) -> None:
    lease = leased(place, TWO)
    ready = await asyncio.gather(*(runtimes.ready(lease, print) for _ in range(3)))
    (only,) = place.workshop.runtimes.list()
    assert {one.name for one in ready} == {only.runtime.fingerprint}


async def test_what_is_built_decides_which_runtime_it_is_not_what_its_author_calls_it(
    place: SmallPlace, runtimes: WorkerRuntimes
) -> None:
    """A row that is read as our own plugin is left out, though the fingerprint that was sent is the same."""
    honest, other = leased(place), leased(place)
    other.manifest["custom_nodes"]["alpha"]["plugin"] = True
    assert honest.fingerprint == other.fingerprint
    with pytest.raises(BuildFailed, match="lacks the node classes Alpha"):
        await runtimes.ready(other, print)
    assert (await runtimes.ready(honest, print)).name

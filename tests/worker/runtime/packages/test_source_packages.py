"""Runtimes whose packs want packages that come as source alone: built confined, once, and failures that say why."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from runflow.worker.runtime.build.environments import torch_environment
from runflow.worker.runtime.build.failed import RuntimeBuildFailed
from runflow.worker.runtime.commands import SourceRefused
from runflow.worker.runtime.packages import source_packages
from runflow.worker.runtime.packages.kept_wheels import PackageNotBuilt
from runflow.worker.runtime.packages.resolve import Resolution
from runflow.worker.runtime.packages.uv_compile import SourcePackage
from runflow.worker.runtime.report import LogReporter
from runflow.worker.runtime.source_package import Archive
from tests.support.package_index import build_sdist, build_wheel
from tests.support.small_builds import ONE, TWO, SmallPlace


@pytest.fixture
def place(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPlace:
    """A place that is filled; uv's cache is its own."""
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(open_folder / "cache"))
    return SmallPlace(open_folder).fill()


async def failure(place: SmallPlace, requirements: str) -> RuntimeBuildFailed:
    with pytest.raises(RuntimeBuildFailed) as failed:
        await place.build(ONE, place.ask(place.pack("alpha", requirements)))
    return failed.value


async def test_source_packages_and_what_they_need_are_built_confined(
    place: SmallPlace, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNFLOW_TOKEN", "secret")
    outside = socket.create_server(("127.0.0.1", 0))
    request.addfinalizer(outside.close)
    code = f"""
        import os, socket
        assert not os.environ.get("RUNFLOW_TOKEN")
        try: socket.create_connection({outside.getsockname()}, 5)
        except OSError: pass
        else: raise SystemExit("it has a network")
    """
    build_sdist(place.index, "fvcore", "1.5", ["iopath"], code=code)
    build_sdist(place.index, "iopath", "0.1", ["shade"], code=code)
    ask = place.ask(place.pack("alpha", "fvcore\n", code="import fvcore, iopath, shade"))
    asked: list[str] = []
    built = await place.builder.ready(ONE, ask, may_fetch=lambda origin, _: asked.append(origin))
    record = built.runtime.record()
    assert [(one["name"], one["version"]) for one in record["from_source"]] == [("fvcore", "1.5"), ("iopath", "0.1")]
    assert all(len(one["sha256"]) == 64 for one in record["from_source"])
    assert {"fvcore", "iopath", "shade"} <= record["packages"].keys()
    assert len(asked) == 2, "it counts like the pack that wants it"
    said = built.runtime.log.read_text()
    assert "Building fvcore 1.5, which has no wheel (the pack alpha wants it)" in said
    # Nothing is built a second time.
    for wheel in place.index.glob("*.tar.gz"):
        wheel.unlink()
    second = await place.build(TWO, place.ask(place.pack("alpha", "fvcore\n", code="import fvcore  # again")))
    assert second.environment == built.environment


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise OSError(2, 'No such file or directory', 'gcc')", "It needs the program `gcc`"),
        ("import torch_of_the_author", "It imports torch_of_the_author while it is built"),
        ("print('fatal error: jpeglib.h: No such file or directory'); raise SystemExit(1)", "the header jpeglib.h"),
        ("raise OSError('CUDA_HOME environment variable is not set')", "CUDA's compiler"),
    ],
)
async def test_a_build_that_lacks_something_names_it(place: SmallPlace, code: str, said: str) -> None:
    build_sdist(place.index, "dino", "1.0", code=code)
    failed = await failure(place, "dino\n")
    assert (failed.step, failed.pack, failed.is_permanent) == ("packages", "alpha", True)
    assert "dino 1.0 has no wheel for this machine, and cannot be built (the pack alpha wants it)" in failed.message
    assert said in failed.message
    log = place.workshop.runtimes.folder / f"{ONE}.failed" / "wheels.log"
    assert str(log) in failed.message and log.is_file()


async def test_what_builds_it_has_to_be_a_wheel_of_the_index(place: SmallPlace) -> None:
    build_sdist(place.index, "dino", "1.0", built_with=["not-there"])
    failed = await failure(place, "dino\n")
    assert "Fetching what builds it (not-there)" in failed.message


@pytest.mark.parametrize("way", ["requires", "below", "says"])
async def test_what_builds_it_comes_from_no_address(place: SmallPlace, tmp_path: Path, way: str) -> None:
    proof = tmp_path / "ran"
    address = build_sdist(tmp_path / "elsewhere", "evil", "1.0", proof=proof).as_uri()
    if way == "requires":
        build_sdist(place.index, "dino", "1.0", built_with=[address])
    elif way == "below":
        build_wheel(place.index, "helper", "1.0", requires=[f"evil @ {address}"])
        build_sdist(place.index, "dino", "1.0", built_with=["helper"])
    else:
        said = f"No solution found when resolving: `{address}`"
        build_sdist(place.index, "dino", "1.0", code=f"raise SystemExit({said!r})")
    failed = await failure(place, "dino\n")
    assert "dino 1.0" in failed.message and failed.pack == "alpha" and failed.is_permanent
    assert not proof.exists(), "it ran, and outside of any sandbox"


async def test_what_a_failed_build_says_of_a_network_is_not_believed(place: SmallPlace) -> None:
    build_sdist(place.index, "dino", "1.0", code="raise SystemExit('Temporary failure in name resolution')")
    failed = await failure(place, "dino\n")
    assert "Temporary failure in name resolution" in failed.message and failed.is_permanent


async def test_what_a_build_asks_for_when_it_runs_is_fetched(place: SmallPlace) -> None:
    more = """
        def get_requires_for_build_wheel(settings=None):
            return ["shade>=2"]
    """
    path = build_sdist(place.index, "dino", "1.0", code="import shade; assert shade.version == '2.0'", more=more)
    built = await place.build(ONE, place.ask(place.pack("alpha", "dino\n")))
    assert "shade" not in built.runtime.record()["packages"]
    path.unlink()
    build_sdist(
        place.index,
        "dino",
        "2.0",
        more=more.replace("shade>=2", "shade @ https://127.0.0.1:9/shade-2.0-py3-none-any.whl"),
    )
    with pytest.raises(RuntimeBuildFailed, match=r"dino 2\.0 has no wheel"):
        await place.build(TWO, place.ask(place.pack("alpha", "dino==2.0\n")))


async def test_what_cannot_be_built_leaves_older_versions_that_do_without(place: SmallPlace) -> None:
    build_sdist(place.index, "wget", "3.2", code="raise SystemExit(3)")
    for version, requires in (("1.2", ()), ("1.3", ("wget",))):
        build_wheel(place.index, "background", version, requires=requires)
    built = await place.build(ONE, place.ask(place.pack("alpha", "background\n")))
    record = built.runtime.record()
    assert (record["packages"]["background"], record["from_source"]) == ("1.2", [])
    assert "wget 3.2 has no wheel" in built.runtime.log.read_text()
    assert "Older versions are taken" in built.runtime.log.read_text()


async def test_what_may_be_right_a_moment_later_is_no_reason_for_older_versions(
    place: SmallPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_sdist(place.index, "wget", "3.2")
    for version, requires in (("1.2", ()), ("1.3", ("wget",))):
        build_wheel(place.index, "background", version, requires=requires)

    def cut_off(*_: object) -> Archive:
        raise SourceRefused("Connection reset by peer")

    monkeypatch.setattr(source_packages, "fetch_file", cut_off)
    failed = await failure(place, "background\n")
    assert "Connection reset" in failed.message and not failed.is_permanent


async def test_another_file_than_the_index_tells_is_not_built(
    place: SmallPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build_sdist(place.index, "dino", "1.0", code="raise SystemExit('it ran')")
    monkeypatch.setattr(source_packages, "fetch_file", lambda *_: Archive(path, "0" * 64))
    failed = await failure(place, "dino\n")
    assert f"has SHA-256 {'0' * 64}" in failed.message
    assert "it ran" not in failed.message


async def test_an_archive_has_a_bound(place: SmallPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    build_sdist(place.index, "dino", "1.0")
    monkeypatch.setattr(source_packages, "MOST_ARCHIVE_BYTES", 100)
    assert "dino-1.0.tar.gz has more than 100 bytes" in (await failure(place, "dino\n")).message


async def test_a_wheel_of_something_else_is_not_taken(place: SmallPlace) -> None:
    path = build_sdist(place.folder / "other", "shade", "7.0")
    path.rename(place.index / "dino-1.0.tar.gz")
    failed = await failure(place, "dino\n")
    assert "shade" in failed.message and "dino 1.0 has no wheel" in failed.message


async def test_source_packages_that_never_end_are_refused(place: SmallPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_packages, "MOST_SOURCES", 2)

    def resolve(wheels: Mapping[str, Path], _: frozenset[str]) -> Resolution:
        name = f"one{len(wheels)}"
        return Resolution("", {}, sources=(SourcePackage(name, "1", build_sdist(place.index, name, "1").name),))

    torch = await torch_environment(place.workshop, LogReporter())
    with pytest.raises(PackageNotBuilt, match="More than 2 packages have no wheel for this machine: one0, one1"):
        await source_packages.resolve_and_build(
            place.workshop, torch, resolve, LogReporter(), place.folder / "wheels.log"
        )

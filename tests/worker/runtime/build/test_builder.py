"""Runtimes built from repositories and wheels: what they share, what they refuse, and whose fault that is."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runflow.worker.runtime.build.builder import RuntimeBuilder
from runflow.worker.runtime.build.checking import Candidate, Checked
from runflow.worker.runtime.build.failed import RuntimeBuildFailed, SourceNotApproved
from runflow.worker.runtime.build.manifest import ComfyAsk, PackAsk, RuntimeAsk
from runflow.worker.runtime.build.steps import BuildReport
from runflow.worker.runtime.environment import Environment
from tests.support.package_index import build_wheel
from tests.support.repositories import add_module, commit_files
from tests.support.small_builds import ONE, THREE, TWO, SmallPlace, is_whole


@pytest.fixture
def place(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPlace:
    """A place that is filled; uv's cache is its own."""
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(open_folder / "cache"))
    return SmallPlace(open_folder).fill()


async def failure(place: SmallPlace, ask: RuntimeAsk, fingerprint: str = ONE) -> RuntimeBuildFailed:
    with pytest.raises(RuntimeBuildFailed) as failed:
        await place.build(fingerprint, ask)
    assert place.workshop.runtimes.find(fingerprint) is None
    return failed.value


async def test_a_runtime_has_what_its_manifest_names(place: SmallPlace) -> None:
    alpha = place.pack("alpha", "shade==1.0\n")
    ask = place.ask(alpha)
    built = await place.build(ONE, ask)
    assert is_whole(built, ask)
    record = built.runtime.record()
    assert record["packages"]["shade"] == "1.0"
    assert record["comfyui"] == {"origin": place.comfyui.origin, "commit": place.comfyui.commit}
    assert {"origin": alpha.origin, "commit": alpha.commit} in record["sources"]
    said = built.runtime.log.read_text()
    assert "Fetching the node pack alpha" in said and "Starting ComfyUI" in said
    assert list(built.comfyui.glob("comfy/__pycache__/model.*.pyc"))


async def test_packs_that_need_other_packages_have_runtimes_beside_each_other(place: SmallPlace) -> None:
    asks = [place.ask(place.pack(name, f"shade=={version}\n")) for name, version in (("alpha", "1.0"), ("beta", "2.0"))]
    built = [await place.build(fingerprint, ask) for fingerprint, ask in zip((ONE, TWO), asks, strict=True)]
    for one, version in zip(built, ("1.0", "2.0"), strict=True):
        found = (
            Environment(one.environment, place.workshop.indexes, None).ask("import shade; print(shade.version)").strip()
        )
        assert found == version
    # torch is there once: its files have names in both, and in the environment that holds it alone.
    files = [next(one.environment.glob("lib/python*/site-packages/torch/__init__.py")) for one in built]
    assert len({file.stat().st_ino for file in files}) == 1
    compiled = [next(file.parent.glob("__pycache__/__init__.*.pyc")) for file in files]
    assert len({file.stat().st_ino for file in compiled}) == 1


async def test_a_second_runtime_with_equal_packages_shares_its_environment(place: SmallPlace) -> None:
    first = await place.build(ONE, place.ask(place.pack("alpha", "shade\n")))
    second = await place.build(TWO, place.ask(place.pack("alpha", "shade\n", code="# another commit")))
    assert first.environment == second.environment
    assert first.comfyui != second.comfyui
    trees = [(one.comfyui / "comfy/model.py").stat().st_ino for one in (first, second)]
    assert trees[0] == trees[1]


async def test_one_build_for_all_who_ask(place: SmallPlace) -> None:
    ask = place.ask(place.pack("alpha"))
    told: list[str] = []
    works = [place.builder.ready(ONE, ask, tell=told.append) for _ in range(5)]
    built = await asyncio.gather(*works)
    assert {one.runtime.folder for one in built} == {place.workshop.runtimes.folder / ONE}
    assert sum(text.startswith("Starting ComfyUI") for text in told) == 1


async def test_a_class_that_is_missing_names_its_pack_and_why(place: SmallPlace) -> None:
    broken = place.pack("alpha", code="import nowhere_to_be_found")
    failed = await failure(place, place.ask(broken))
    assert (failed.step, failed.pack, failed.code) == ("check", "alpha", "RUNTIME_BUILD_FAILED")
    assert "Alpha" in failed.message and "nowhere_to_be_found" in failed.message
    assert failed.is_permanent
    assert failed.log_path is not None and "Looking at alpha." in failed.log_path.read_text()


async def test_a_runtime_that_is_there_is_refused_to_who_needs_more_of_it(place: SmallPlace) -> None:
    alpha = place.pack("alpha")
    await place.build(ONE, place.ask(alpha))
    with pytest.raises(RuntimeBuildFailed, match="lacks the node classes Omega") as failed:
        await place.build(ONE, place.ask(alpha, node_types=("Alpha", "Omega")))
    assert failed.value.step == "check"
    assert place.workshop.runtimes.find(ONE) is not None


async def test_packages_that_do_not_fit_together_are_blamed_on_their_packs(place: SmallPlace) -> None:
    failed = await failure(place, place.ask(place.pack("alpha", "shade==1.0\n"), place.pack("beta", "shade==2.0\n")))
    assert failed.step == "packages"
    assert "alpha" in failed.message and "beta" in failed.message


async def test_two_packages_that_own_one_file_are_refused(place: SmallPlace) -> None:
    for name in ("light", "heavy"):
        build_wheel(place.index, name, "1.0", {"both/__init__.py": f"# {name}\n", f"{name}.py": ""})
    failed = await failure(place, place.ask(place.pack("alpha", "light\nheavy\n")))
    assert failed.step == "environment"
    assert "both/__init__.py" in failed.message


async def test_a_commit_that_nobody_has_is_named(place: SmallPlace) -> None:
    alpha = place.pack("alpha")
    failed = await failure(place, place.ask(PackAsk("alpha", alpha.origin, "0" * 40)))
    assert (failed.step, failed.pack) == ("sources", "alpha")
    assert "0" * 40 in failed.message


async def test_what_is_no_comfyui_is_refused(place: SmallPlace) -> None:
    alpha = place.pack("alpha")
    failed = await failure(place, RuntimeAsk(ComfyAsk(alpha.origin, alpha.commit)))
    assert "is not a ComfyUI" in failed.message


async def test_each_source_is_asked_about_before_it_is_fetched(place: SmallPlace) -> None:
    alpha = place.pack("alpha")
    asked: list[tuple[str, str]] = []

    def may_fetch(origin: str, commit: str) -> None:
        asked.append((origin, commit))
        assert not place.workshop.mirrors.has(origin, commit)

    await place.build(ONE, place.ask(alpha), may_fetch)
    assert asked == [(place.comfyui.origin, place.comfyui.commit), (alpha.origin, alpha.commit)]


async def test_a_shared_tree_is_asked_about_again(place: SmallPlace) -> None:
    await place.build(ONE, place.ask(place.pack("alpha")))

    def never(origin: str, commit: str) -> None:
        raise SourceNotApproved(f"{origin} waits.", (origin, commit))

    with pytest.raises(RuntimeBuildFailed) as failed:
        await place.build(TWO, place.ask(place.pack("beta")), never)
    assert failed.value.waits_for == (place.comfyui.origin, place.comfyui.commit)
    assert not failed.value.is_permanent
    # Once it is approved nothing stands in the way.
    assert await place.build(TWO, place.ask(place.pack("beta")))


async def test_submodules_come_with_the_commit_that_names_them(place: SmallPlace) -> None:
    shared = place.folder / "packs/shared"
    inner = commit_files(shared, {"inner.py": "value = 7\n"})
    alpha = place.pack("alpha", code="")
    folder = place.folder / "packs/alpha"
    commit = add_module(folder, "lib", shared.as_uri(), inner)
    asked: list[str] = []
    ask = place.ask(PackAsk("alpha", alpha.origin, commit, alpha.classes))
    built = await place.build(ONE, ask, lambda origin, _commit: asked.append(origin))
    assert (built.comfyui / "custom_nodes/alpha/lib/inner.py").read_text() == "value = 7\n"
    assert shared.as_uri() not in asked
    assert {"origin": shared.as_uri(), "commit": inner} in built.runtime.record()["sources"]


async def test_a_package_of_a_repository_is_built_confined_at_a_commit(
    place: SmallPlace, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNFLOW_TOKEN", "secret")
    source = place.folder / "packs/tint"
    outside = socket.create_server(("127.0.0.1", 0))
    request.addfinalizer(outside.close)
    setup = (
        "import os, setuptools, socket\n"
        "assert not os.environ.get('RUNFLOW_TOKEN')\n"
        f"try:\n    socket.create_connection({outside.getsockname()}, 5)\n"
        "except OSError:\n    pass\n"
        "else:\n    raise SystemExit('it has a network')\n"
        "setuptools.setup(name='tint', version='3.1', py_modules=['tint'])\n"
    )
    commit = commit_files(source, {"setup.py": setup, "tint.py": "value = 9\n"})
    for name in ("setuptools", "wheel", "packaging"):
        _fetch_wheel(place, name)
    # As most packs write it, which does not say what the package is called.
    alpha = place.pack("alpha", f"git+{source.as_uri()}\n", code="import tint")
    asked: list[tuple[str, str]] = []
    built = await place.build(ONE, place.ask(alpha), lambda *one: asked.append(one))
    assert (source.as_uri(), commit) in asked
    record = built.runtime.record()
    assert record["built"] == [{"name": "tint", "origin": source.as_uri(), "commit": commit}]
    assert record["packages"]["tint"] == "3.1"

    def never(origin: str, commit: str) -> None:
        if origin == source.as_uri():
            raise SourceNotApproved(f"{origin} waits.", (origin, commit))

    with pytest.raises(RuntimeBuildFailed) as failed:
        await place.build(TWO, place.ask(place.pack("alpha", f"tint @ git+{source.as_uri()}\n")), never)
    assert (failed.value.waits_for, failed.value.pack) == ((source.as_uri(), commit), "alpha")


async def test_a_package_that_cannot_be_built_is_its_packs_fault(place: SmallPlace) -> None:
    source = place.folder / "packs/tint"
    commit_files(source, {"pyproject.toml": '[build-system]\nrequires = ["--index-url=http://x"]\n'})
    failed = await failure(place, place.ask(place.pack("alpha", f"tint @ git+{source.as_uri()}\n")))
    assert (failed.step, failed.pack) == ("packages", "alpha")
    missing = await failure(place, place.ask(place.pack("beta", f"tint @ git+{source.as_uri()}@nowhere\n")), THREE)
    assert "nowhere" in missing.message and missing.pack == "beta"


@pytest.mark.parametrize("where", ["pyvenv.cfg", "lib/python3.11/os.py", "lib/evil", "x/y"])
async def test_a_package_that_stands_in_for_a_part_of_python_is_refused(place: SmallPlace, where: str) -> None:
    """The scripts that put engines into their sandbox run before it is there, by that Python."""
    build_wheel(place.index, "lurk", "1.0", {f"lurk-1.0.data/data/{where}": "home = custom_nodes/alpha\n"})
    failed = await failure(place, place.ask(place.pack("alpha", "lurk\n")))
    assert failed.step == "environment"
    assert f"A package writes {where.partition('/')[0] if where == 'x/y' else where}" in failed.message


async def test_nothing_of_an_installed_package_runs_while_it_is_built(place: SmallPlace) -> None:
    """What a package leaves for the start of Python runs where engines do, and nowhere before."""
    proof = place.folder / "proof"
    files = {"lurk.py": "", "lurk.pth": f"import pathlib; pathlib.Path({str(proof)!r}).touch()\n"}
    build_wheel(place.index, "lurk", "1.0", files)

    async def unlooked(_candidate: Candidate, ask: RuntimeAsk, _report: BuildReport) -> Checked:
        return Checked(list(ask.node_types), {})

    built = await RuntimeBuilder(place.workshop, unlooked).ready(ONE, place.ask(place.pack("alpha", "lurk\n")))
    assert list(built.environment.glob("lib/python*/site-packages/lurk.pth"))
    assert not proof.exists()
    subprocess.run([built.python, "-c", ""], check=True)
    assert proof.exists(), "else this test would prove nothing"


async def test_what_only_removed_runtimes_had_is_removed_after_them(place: SmallPlace) -> None:
    built = await place.build(ONE, place.ask(place.pack("alpha", "shade\n")))
    workshop = place.workshop
    workshop.runtimes.remove(ONE)
    # Nothing that was used a moment ago: another build may be on its way to it.
    workshop.evict()
    assert built.environment.exists()
    for lock in (workshop.environments.folder / ".locks").glob("*.use"):
        os.utime(lock, (0, 0))
    workshop.evict()
    assert not built.environment.exists()
    assert not list(workshop.bytecode.rglob("*.pyc*"))


async def test_a_full_disk_is_told_and_passes(place: SmallPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await place.build(ONE, place.ask(place.pack("alpha")))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "a file")

    monkeypatch.setattr("runflow.worker.runtime.sources.sources.shutil.copytree", full)
    failed = await failure(place, place.ask(place.pack("beta")), TWO)
    assert "No space left on device" in failed.message and not failed.is_permanent
    monkeypatch.undo()
    assert first.runtime.comfyui.is_dir() and place.workshop.runtimes.find(ONE) is not None
    assert await place.build(TWO, place.ask(place.pack("beta")))


def _fetch_wheel(place: SmallPlace, name: str) -> None:
    """Put a real package into the index, from the environment that the tests run in."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, name]
        subprocess.run(command, check=True, env={**os.environ, "UV_CACHE_DIR": ""})
        for wheel in Path(folder).glob("*.whl"):
            (place.index / wheel.name).write_bytes(wheel.read_bytes())

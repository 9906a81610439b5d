"""Resolutions by the real uv, from an index of small wheels and source packages that the tests build."""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from runflow.worker.runtime.commands import CommandFailed, InstallError, run
from runflow.worker.runtime.environment import Environment, find_uv
from runflow.worker.runtime.index_settings import Indexes, IndexSettings
from runflow.worker.runtime.packages.requirements import GitRequirement, PackRequirements
from runflow.worker.runtime.packages.resolve import MOST_REQUIREMENTS, Resolution, ResolveAsk, resolve
from runflow.worker.runtime.packages.uv_compile import ResolutionFailed
from runflow.worker.runtime.report import LogReporter
from tests.support.package_index import build_sdist, build_wheel, serving_index

COMFYUI = ["numpy>=1.25", "kornia"]


@dataclass(frozen=True)
class Place:
    """An index, an environment that resolves from it, and whether code of a source package ran."""

    index: Path
    environment: Environment
    cache: Path
    proof: Path

    def wheel(self, name: str, version: str, *requires: str) -> None:
        build_wheel(self.index, name, version, requires=requires)

    def sdist(self, name: str, version: str, *requires: str) -> None:
        build_sdist(self.index, name, version, requires, self.proof)

    def resolve(self, *packs: PackRequirements, **ask: object) -> Resolution:
        values = {"comfyui": COMFYUI, "packs": packs, **ask}
        return resolve(ResolveAsk(**values), self.environment, cache=self.cache)  # type: ignore[arg-type]

    def sources(self, *packs: PackRequirements, **ask: object) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Return the source packages to build, with the version of each and the packs that want it."""
        found = self.resolve(*packs, **ask)
        assert not self.proof.exists(), "code of a source package ran"
        return {one.name: (one.version, one.packs) for one in found.sources}

    def failure(self, *packs: PackRequirements, **ask: object) -> ResolutionFailed:
        with pytest.raises(ResolutionFailed) as failed:
            self.resolve(*packs, **ask)
        return failed.value


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An index with what ComfyUI asks for, and an environment with a torch from elsewhere: the index has none."""
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    index, root = tmp_path / "index", tmp_path / "runtime/.venv"
    for version in ("1.26.4", "2.3.0"):
        build_wheel(index, "numpy", version)
    build_wheel(index, "kornia", "0.9", requires=["torch>=1.9"])
    uv = find_uv()
    assert uv is not None, "uv is one of our dependencies"
    run([uv, "venv", "--quiet", "--python", sys.executable, root], what="uv")
    with serving_index(index) as url:
        environment = Environment(root, Indexes(IndexSettings(index_url=url), IndexSettings()), uv)
        for name, version in {"torch": "2.13.0+cpu", "torchvision": "0.28.0"}.items():
            # What it says about itself is all that a resolution sees of it.
            info = environment.site_packages / f"{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        yield Place(index, environment, tmp_path / "cache", tmp_path / "proof")


def pack(name: str, *requirements: str) -> PackRequirements:
    return PackRequirements(name, "requirements.txt", requirements)


def test_every_line_of_the_lock_has_hashes_and_torch_is_not_in_it(place: Place) -> None:
    place.wheel("einops", "0.8")
    found = place.resolve(pack("A", "einops", "numpy>=1"), PackRequirements("B"))
    assert found.packages == {"einops": "0.8", "kornia": "0.9", "numpy": "2.3.0"}
    lines = [line for line in found.lock.splitlines() if "==" in line]
    assert len(lines) == 3
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", found.lock)) == 3
    assert "://" not in found.lock
    assert (found.held, found.dropped, found.sources) == ((), (), ())


def test_the_torch_that_is_there_holds(place: Place) -> None:
    place.wheel("torch", "9.0")
    place.wheel("wants-new", "1", "torch>=3")
    failed = place.failure(pack("A", "wants-new"))
    assert failed.packs == ("A",)
    assert "There is torch 2.13.0+cpu, torchvision 0.28.0." in str(failed)
    place.wheel("wants-that", "1", "torch==2.13.0")
    assert "wants-that" in place.resolve(pack("A", "wants-that")).packages


def test_torch_comes_before_a_resolution(place: Place) -> None:
    for name in ("torch-2.13.0+cpu", "torchvision-0.28.0"):
        shutil.rmtree(place.environment.site_packages / f"{name}.dist-info")
    with pytest.raises(InstallError, match="Install torch before"):
        place.resolve()


def test_two_packs_that_conflict_are_blamed_and_no_others(place: Place) -> None:
    place.wheel("hub", "1.0")
    place.wheel("hub", "2.0")
    place.wheel("old", "1", "hub<2")
    place.wheel("fine", "1")
    failed = place.failure(pack("A", "fine"), pack("B", "old"), pack("C", "hub"), pack("D", "hub>=2"))
    assert failed.packs == ("B", "D")
    said = str(failed)
    assert "The packs B and D ask for what cannot be had together" in said
    assert "old" in said
    assert "hub>=2" in said
    assert "fine" not in said


def test_a_pack_that_fails_by_itself_is_blamed_alone(place: Place) -> None:
    place.wheel("fine", "1")
    failed = place.failure(pack("A", "fine"), pack("B", "not-there"), pack("C", "numpy>=9"))
    assert failed.packs == ("B", "C")
    assert "each ask for what cannot be had beside ComfyUI" in str(failed)
    assert "not-there was not found" in str(failed)


def test_comfyui_by_itself_is_nobodys_fault(place: Place) -> None:
    failed = place.failure(pack("A", "numpy"), comfyui=["gone==1"])
    assert failed.packs == ()
    assert "ComfyUI's own requirements" in str(failed)


def test_an_index_that_does_not_answer_blames_nobody(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    dead = Indexes(IndexSettings(index_url="http://user:secret@127.0.0.1:9/simple"), IndexSettings())
    failed = replace(place, environment=replace(place.environment, indexes=dead)).failure(pack("A", "numpy"))
    assert failed.packs == ()
    assert "through no fault of a pack" in str(failed)
    assert "secret" not in str(failed)


def test_wheels_of_a_folder_have_hashes_as_well(place: Place, tmp_path: Path) -> None:
    build_wheel(tmp_path / "links", "einops", "0.9")
    place.wheel("einops", "0.8")
    indexes = replace(place.environment.indexes, uv=IndexSettings(find_links=(str(tmp_path / "links"),)))
    found = replace(place, environment=replace(place.environment, indexes=indexes)).resolve(pack("A", "einops"))
    assert found.packages["einops"] == "0.9"
    assert found.lock.count("--hash=sha256:") == len(found.packages) == 3
    assert "links" not in found.lock


def test_a_lock_installs_what_was_resolved_and_nothing_under_its_name(place: Place, tmp_path: Path) -> None:
    place.wheel("einops", "0.8")
    lock = tmp_path / "lock.txt"
    lock.write_text(place.resolve(pack("A", "einops")).lock)
    arguments = ["--require-hashes", "--no-deps", "--requirement", str(lock)]
    place.environment.install([], LogReporter(), arguments=[*arguments, "--cache-dir", str(tmp_path / "one")])
    assert place.environment.versions("einops", "numpy") == {"einops": "0.8", "numpy": "2.3.0"}
    build_wheel(place.index, "einops", "0.8", {"einops.py": "something else"})
    with pytest.raises(CommandFailed, match="Hash mismatch"):
        more = ["--reinstall", "--cache-dir", str(tmp_path / "two")]
        place.environment.install([], LogReporter(), arguments=[*arguments, *more])


def test_without_uv_the_next_step_is_said(place: Place) -> None:
    with pytest.raises(InstallError, match="uv is not installed"):
        replace(place, environment=replace(place.environment, uv=None)).resolve()


def test_who_holds_a_package_of_comfyui_back_is_said(place: Place) -> None:
    for version in ("1.26", "2.8"):
        place.wheel("urllib3", version)
    place.wheel("matrix-client", "0.4", "urllib3<2")
    found = place.resolve(
        *(pack("Impact", "numpy<2"), pack("Other", "numpy"), pack("Manager", "matrix-client")),
        comfyui=[*COMFYUI, "urllib3"],
    )
    assert found.packages["numpy"] == "1.26.4"
    assert found.held == (
        "The pack Impact holds numpy at 1.26.4 for all (it asks for numpy<2).",
        "The pack Manager holds urllib3 at 1.26 for all (by what its requirements depend on).",
    )


def test_the_authors_versions_are_kept_where_they_can_be(place: Place) -> None:
    for version in ("1", "2"):
        place.wheel("lib", version)
        place.wheel("deep", version)
    place.wheel("top", "1", "deep")
    preferences = {"numpy": "1.26.4", "deep": "1", "unused": "7", "torch": "2.0", "nvidia-x": "1"}
    found = place.resolve(pack("A", "top", "lib"), preferences=preferences)
    assert found.packages == {"numpy": "1.26.4", "deep": "1", "top": "1", "lib": "2", "kornia": "0.9"}
    assert found.dropped == ()
    assert found.held == ()


def test_of_the_authors_versions_those_asked_by_name_are_kept_before_none(place: Place) -> None:
    place.wheel("deep", "2")
    place.wheel("top", "1", "deep")
    found = place.resolve(pack("A", "top"), preferences={"numpy": "1.26.4", "deep": "1"})
    assert found.packages["numpy"] == "1.26.4"
    assert found.dropped == ("deep==1",)
    gone = place.resolve(pack("A", "top"), preferences={"numpy": "1.0"})
    assert gone.packages["numpy"] == "2.3.0"
    assert gone.dropped == ("numpy==1.0",)
    # What a requirement excludes costs the others nothing.
    place.wheel("deep", "1")
    excluded = place.resolve(pack("A", "top", "numpy>=2"), preferences={"numpy": "1.26.4", "deep": "1"})
    assert (excluded.packages["deep"], excluded.dropped) == ("1", ("numpy==1.26.4",))


def test_one_package_of_a_family_whoever_asks(place: Place) -> None:
    for name in ("opencv-python", "opencv-python-headless", "opencv-contrib-python-headless"):
        for version in ("4.11", "4.13"):
            place.wheel(name, version)
    place.wheel("timm-like", "1", "opencv-python>=4.12")
    for name in ("onnxruntime", "onnxruntime-gpu"):
        place.wheel(name, "1.20")
    direct = place.resolve(pack("A", "opencv-python<4.13", "onnxruntime-gpu"), pack("B", "opencv-python-headless"))
    assert {name: version for name, version in direct.packages.items() if name.startswith(("open", "onnx"))} == {
        "opencv-contrib-python-headless": "4.11",
        "onnxruntime": "1.20",
    }
    below = place.resolve(pack("A", "timm-like", "onnxruntime"), cuda=True)
    assert {name for name in below.packages if name.startswith(("open", "onnx"))} == {
        "opencv-contrib-python-headless",
        "onnxruntime-gpu",
    }


def test_a_source_package_is_named_where_there_is_no_wheel(place: Place) -> None:
    place.wheel("base", "1")
    place.sdist("wget", "3", "base")
    place.sdist("wget", "2")
    assert place.sources(pack("A", "wget")) == {"wget": ("3", ("A",))}
    found = place.resolve(pack("A", "wget<3"), pack("B", "numpy")).sources
    assert [(one.version, one.file) for one in found] == [("2", "wget-2.tar.gz")]
    assert place.sources(pack("A", "numpy")) == {}


def test_the_hash_of_a_source_package_is_that_of_the_index(place: Place, tmp_path: Path) -> None:
    path = build_sdist(tmp_path / "links", "wget", "3")
    indexes = replace(place.environment.indexes, uv=IndexSettings(find_links=(str(tmp_path / "links"),)))
    (one,) = replace(place, environment=replace(place.environment, indexes=indexes)).resolve(pack("A", "wget")).sources
    assert (one.file, one.sha256) == (path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def test_what_a_built_source_package_depends_on_is_known_from_its_wheel(place: Place, tmp_path: Path) -> None:
    place.sdist("fvcore", "1", "iopath")
    place.sdist("iopath", "1")
    assert place.sources(pack("A", "fvcore")) == {"fvcore": ("1", ("A",))}
    built = {"fvcore": build_wheel(tmp_path, "fvcore", "1", requires=["iopath"])}
    assert place.sources(pack("A", "fvcore"), pack("B", "numpy"), built=built) == {"iopath": ("1", ("A",))}
    built["iopath"] = build_wheel(tmp_path, "iopath", "1")
    found = place.resolve(pack("A", "fvcore"), built=built)
    assert (found.sources, found.packages["iopath"]) == ((), "1")
    assert found.lock.count("--hash=sha256:") == len(found.packages)


def test_a_source_package_is_named_where_wheels_alone_would_be_older(place: Place, tmp_path: Path) -> None:
    place.sdist("wget", "3")
    place.wheel("background", "1.2")
    place.wheel("background", "1.3", "wget")
    asked = pack("A", "background")
    assert place.sources(asked) == {"wget": ("3", ("A",))}
    found = place.resolve(asked, built={"wget": build_wheel(tmp_path, "wget", "3")})
    assert (found.packages["background"], found.packages["wget"]) == ("1.3", "3")
    # What cannot be built leaves the older one, where that does.
    refused = frozenset({"wget"})
    assert place.resolve(asked, unbuildable=refused).packages["background"] == "1.2"
    assert place.failure(pack("A", "background>=1.3"), unbuildable=refused).packs == ("A",)


def test_the_authors_versions_of_source_packages_are_kept(place: Place) -> None:
    for version in ("1", "2"):
        place.sdist("wget", version)
        place.wheel("background", version, f"wget=={version}")
    place.wheel("background", "0.9")
    asked = pack("A", "background")
    assert place.sources(asked, preferences={"background": "1", "wget": "1", "numpy": "1.26.4"})["wget"][0] == "1"
    assert place.sources(asked, preferences={"background": "1"})["wget"][0] == "1"
    assert place.sources(asked)["wget"][0] == "2"


def test_what_has_wheels_is_not_built_for_a_newer_version_or_the_authors(place: Place) -> None:
    place.wheel("mixed", "2")
    place.sdist("mixed", "3")
    place.sdist("mixed", "1")
    assert place.resolve(pack("A", "mixed")).packages["mixed"] == "2"
    assert place.resolve(pack("A", "mixed"), preferences={"mixed": "1"}).packages["mixed"] == "2"
    assert place.sources(pack("A", "mixed>=3")) == {"mixed": ("3", ("A",))}


def test_an_older_version_for_another_reason_stays(place: Place) -> None:
    place.sdist("wget", "3")
    place.wheel("top", "2", "numpy<2")
    place.wheel("top", "1")
    found = place.resolve(pack("A", "top", "numpy>=2"))
    assert (found.sources, found.packages["top"]) == ((), "1")


def test_source_packages_do_not_hide_whose_fault_it_is(place: Place) -> None:
    place.sdist("wget", "3")
    for version in ("1", "2"):
        place.wheel("hub", version)
    failed = place.failure(pack("A", "wget"), pack("B", "hub<2"), pack("C", "hub>=2"))
    assert failed.packs == ("B", "C")


@pytest.mark.parametrize("setting", ["UV_NO_CONFIG", "UV_CONFIG_FILE"])
def test_no_code_runs_whatever_the_operator_tells_uv(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    place.sdist("wget", "3")
    (tmp_path / "uv.toml").write_text('[[dependency-metadata]]\nname = "other"\n')
    monkeypatch.setenv(setting, "1" if setting == "UV_NO_CONFIG" else str(tmp_path / "uv.toml"))
    assert place.sources(pack("A", "wget")) == {"wget": ("3", ("A",))}


def test_what_packs_want_from_repositories_is_handed_on(place: Place) -> None:
    wanted = GitRequirement("cstr", "https://host/cstr", None, "A")
    assert place.resolve(PackRequirements("A", "requirements.txt", (), (wanted,))).git == (wanted,)


def test_what_was_built_of_them_is_taken_whatever_the_index_has(place: Place, tmp_path: Path) -> None:
    place.wheel("cstr", "9.0")
    place.wheel("base", "1")
    wheel = build_wheel(tmp_path / "built here", "cstr", "1.0+local", {"cstr.py": "ours"}, requires=["base"])
    wanted = PackRequirements(
        "A", "requirements.txt", ("cstr",), (GitRequirement("cstr", "https://host/c", None, "A"),)
    )
    found = place.resolve(wanted, built={"cstr": wheel}, preferences={"cstr": "9.0"})
    assert (found.packages["cstr"], found.packages["base"]) == ("1.0+local", "1")
    assert found.lock.count("--hash=sha256:") == len(found.packages)
    (tmp_path / "lock.txt").write_text(found.lock)
    arguments = ["--require-hashes", "--no-deps", "--requirement", str(tmp_path / "lock.txt")]
    place.environment.install([], LogReporter(), arguments=arguments)
    assert (place.environment.site_packages / "cstr.py").read_text() == "ours"


@pytest.mark.parametrize(
    "line", ["x @ https://host/x.whl", "x.whl", "-r /etc/passwd", "--index-url x", "x" * 2_000, "x y"]
)
def test_only_packages_by_name_reach_uv(place: Place, line: str) -> None:
    assert "of ComfyUI names no package" in str(place.failure(comfyui=[line]))
    assert "of the pack A names no package" in str(place.failure(pack("A", line)))


def test_requirements_have_a_bound(place: Place) -> None:
    assert str(MOST_REQUIREMENTS) in str(place.failure(pack("A", *["numpy"] * MOST_REQUIREMENTS)))

"""Packs whose install.py does what no file of theirs declares: by a recipe, or told where it is missed."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from runflow.protocol.origins import canonical, is_commit, origin_fault
from runflow.worker.runtime.build.builder import RuntimeBuilder
from runflow.worker.runtime.build.failed import RuntimeBuildFailed, SourceNotApproved
from runflow.worker.runtime.build.manifest import PackAsk
from runflow.worker.runtime.build.recipes import RECIPES, Part, Recipe, note_of, parts_of, recipe_of, required_by
from tests.support.repositories import commit_files
from tests.support.small_builds import ONE, TWO, SmallPlace, check

IMPACT = "https://github.com/ltdrdata/ComfyUI-Impact-Pack.git"


@pytest.fixture
def place(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPlace:
    """A place that is filled; uv's cache is its own."""
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(open_folder / "cache"))
    return SmallPlace(open_folder).fill()


def builder(place: SmallPlace, pack: PackAsk, recipe: Recipe) -> RuntimeBuilder:
    """Return what builds, with a recipe for this pack alone."""
    origin = canonical(pack.origin)
    assert origin is not None
    return RuntimeBuilder(replace(place.workshop, recipes={origin.lower(): recipe}), check)


def files(**named: str) -> object:
    """Return the files of a commit."""
    return lambda path: named[path].encode() if path in named else None


def test_the_recipes_are_found_by_address_and_name_whole_commits() -> None:
    assert recipe_of(IMPACT) is RECIPES["https://github.com/ltdrdata/comfyui-impact-pack"]
    assert recipe_of("https://github.com/somebody/ComfyUI-Impact-Pack") is None
    for origin, recipe in RECIPES.items():
        assert canonical(origin) == origin.lower() == origin
        for part in recipe.parts:
            assert is_commit(part.commit) and origin_fault(part.origin) is None and re.fullmatch(r"\w+", part.folder)


def test_only_commits_that_name_the_folder_of_a_part_get_it() -> None:
    recipe = recipe_of(IMPACT)
    assert [part.folder for part in parts_of(recipe, files(**{"__init__.py": "join('impact_subpack')"}))]  # type: ignore[arg-type]
    assert parts_of(recipe, files(**{"__init__.py": "import impact"})) == ()  # type: ignore[arg-type]
    assert parts_of(None, files()) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("torch", "more"), [(None, []), ("2.13.0+cu128", ["cupy-cuda12x"]), ("2.13.0+cu130", ["cupy-cuda13x"])]
)
def test_files_that_a_script_reads_count_where_nothing_is_declared(torch: str | None, more: list[str]) -> None:
    recipe = recipe_of("https://github.com/Fannovel16/ComfyUI-Frame-Interpolation/")
    asked = {"requirements-no-cupy.txt": "einops\nkornia\n"}
    found = required_by("fi", recipe, files(**asked), [], torch)  # type: ignore[arg-type]
    assert list(found.requirements) == ["einops", "kornia", *more]
    declared = required_by("fi", recipe, files(**asked, **{"requirements.txt": "tqdm\n"}), [], torch)  # type: ignore[arg-type]
    assert list(declared.requirements) == ["tqdm", *more]


def test_a_script_that_is_not_run_is_told_of() -> None:
    script = files(**{"install.py": ""})
    assert "which is not run" in (note_of("x", None, script) or "")  # type: ignore[arg-type]
    assert note_of("x", None, files()) is None  # type: ignore[arg-type]
    told = note_of("ReActor", recipe_of("https://github.com/Gourieff/comfyui-reactor-node"), script)  # type: ignore[arg-type]
    assert told is not None and "insightface/inswapper_128.onnx" in told


async def test_a_part_is_approved_fetched_and_its_packages_are_installed(place: SmallPlace) -> None:
    source = place.folder / "packs/subpack"
    commit = commit_files(source, {"half.py": "import shade\n", "requirements.txt": "shade==1.0\n"})
    code = "import pathlib, sys; sys.path.append(str(pathlib.Path(__file__).parent / 'other_half')); import half"
    alpha = place.pack("alpha", code=code)
    recipe = Recipe(parts=(Part(source.as_uri(), commit, "other_half"),))
    asked: list[tuple[str, str]] = []

    def never(origin: str, commit: str) -> None:
        if origin == source.as_uri():
            raise SourceNotApproved(f"{origin} waits.", (origin, commit))

    with pytest.raises(RuntimeBuildFailed) as failed:
        await builder(place, alpha, recipe).ready(ONE, place.ask(alpha), may_fetch=never)
    assert (failed.value.waits_for, failed.value.pack) == ((source.as_uri(), commit), "alpha")
    assert not failed.value.is_permanent

    built = await builder(place, alpha, recipe).ready(ONE, place.ask(alpha), may_fetch=lambda *one: asked.append(one))
    assert (source.as_uri(), commit) in asked
    assert (built.comfyui / "custom_nodes/alpha/other_half/half.py").is_file()
    record = built.runtime.record()
    assert record["packages"]["shade"] == "1.0"
    assert {"origin": source.as_uri(), "commit": commit} in record["sources"]


async def test_a_commit_that_has_the_part_itself_keeps_its_own(place: SmallPlace) -> None:
    source = place.folder / "packs/subpack"
    commit = commit_files(source, {"half.py": "value = 'elsewhere'\n", "requirements.txt": "not-there\n"})
    alpha = place.pack("alpha", code="# other_half")
    own = commit_files(place.folder / "packs/alpha", {"other_half/half.py": "value = 'own'\n"})
    alpha = PackAsk(alpha.name, alpha.origin, own, alpha.classes)
    recipe = Recipe(parts=(Part(source.as_uri(), commit, "other_half"),))
    built = await builder(place, alpha, recipe).ready(TWO, place.ask(alpha))
    assert (built.comfyui / "custom_nodes/alpha/other_half/half.py").read_text() == "value = 'own'\n"


async def test_a_pack_that_fails_and_has_a_script_is_told_so_and_the_script_never_runs(place: SmallPlace) -> None:
    proof = place.folder / "proof"
    alpha = place.pack("alpha", code="import what_the_script_installs")
    script = f"import pathlib; pathlib.Path({str(proof)!r}).touch()\n"
    commit = commit_files(place.folder / "packs/alpha", {"install.py": script})
    with pytest.raises(RuntimeBuildFailed) as failed:
        await place.build(ONE, place.ask(PackAsk(alpha.name, alpha.origin, commit, alpha.classes)))
    assert (failed.value.step, failed.value.pack) == ("check", "alpha")
    assert "The node pack alpha has an install.py, which is not run" in failed.value.message
    assert not proof.exists()

"""What some node packs' `install.py` would do that no file of theirs declares: told here, for nobody runs that script.

A pack that needs more than its requirements has a recipe: further packages, and repositories at a commit that belong
into its folder, each approved like a pack. Models are the version's business, so a recipe only names them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runflow.protocol.origins import canonical
from runflow.worker.runtime.packages.requirements import PackRequirements, ReadFile, requirements_of_pack

SCRIPT = "install.py"
_MAJOR = re.compile(r"\+cu(?P<major>\d+)\d$")


@dataclass(frozen=True, slots=True)
class Part:
    """A repository at a commit that a pack has in one of its folders, if its `__init__.py` names that folder."""

    origin: str
    commit: str
    folder: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a pack needs beside what it declares.

    `files`: of requirements, which count where it declares none. `packages`: always; `with_cuda`: where there is CUDA,
    with `{major}` for its version. `models`: paths below models/ that its script would download.
    """

    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    with_cuda: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    models: tuple[str, ...] = ()


_SUBPACK_MODELS = (
    "ultralytics/bbox/face_yolov8m.pt",
    "ultralytics/bbox/hand_yolov8s.pt",
    "ultralytics/segm/person_yolov8m-seg.pt",
)
_REACTOR = Recipe(packages=("onnxruntime",), models=("insightface/inswapper_128.onnx",))
RECIPES: Mapping[str, Recipe] = {
    "https://github.com/ltdrdata/comfyui-impact-pack": Recipe(
        # The last commit of its other half that its versions of before 8.0 can import.
        parts=(
            Part(
                "https://github.com/ltdrdata/ComfyUI-Impact-Subpack",
                "bd4dedc4ea514dda9cfa333a0f42e296e32b8c10",
                "impact_subpack",
            ),
        ),
        models=("sams/sam_vit_b_01ec64.pth", *_SUBPACK_MODELS),
    ),
    "https://github.com/ltdrdata/comfyui-impact-subpack": Recipe(models=_SUBPACK_MODELS),
    "https://github.com/fannovel16/comfyui-frame-interpolation": Recipe(
        files=("requirements-no-cupy.txt",), with_cuda=("cupy-cuda{major}x",)
    ),
    "https://github.com/gourieff/comfyui-reactor": _REACTOR,
    "https://github.com/gourieff/comfyui-reactor-node": _REACTOR,
}
"""By a pack's address, in lower case."""


def recipe_of(origin: str, recipes: Mapping[str, Recipe] = RECIPES) -> Recipe | None:
    """Return the recipe of the pack that comes from this address, None where it has none."""
    return recipes.get((canonical(origin) or "").lower())


def parts_of(recipe: Recipe | None, read: ReadFile) -> tuple[Part, ...]:
    """Return the parts that a commit wants, by what its `__init__.py` names."""
    if recipe is None or not recipe.parts:
        return ()
    code = read("__init__.py") or b""
    return tuple(part for part in recipe.parts if part.folder.encode() in code)


def required_by(
    pack: str, recipe: Recipe | None, read: ReadFile, parts: Sequence[ReadFile], torch: str | None
) -> PackRequirements:
    """Return what a pack asks for, with what its recipe and its parts add.

    `parts` reads files of each part that was written. `torch`: the version, where it has CUDA.
    """
    found = requirements_of_pack(pack, read)
    if recipe is None:
        return found
    added: list[PackRequirements] = []
    if not found.requirements and not found.git:
        # Written as a file that leads to them, so that they are read like any other.
        lead = "".join(f"-r {file}\n" for file in recipe.files if read(file) is not None)
        added.append(requirements_of_pack(pack, _instead(read, lead)))
    added += [requirements_of_pack(pack, part) for part in parts]
    major = _MAJOR.search(torch or "")
    packages = [*recipe.packages, *(one.format(major=major["major"]) for one in recipe.with_cuda if major)]
    return replace(
        found,
        requirements=tuple(dict.fromkeys([*found.requirements, *_all(added), *packages])),
        git=(*found.git, *(one for more in added for one in more.git)),
        notes=(*found.notes, *(one for more in added for one in more.notes)),
    )


def _instead(read: ReadFile, requirements: str) -> ReadFile:
    """Return a pack's files with other requirements at the top."""
    return lambda path: requirements.encode() if path == "requirements.txt" else read(path)


def _all(found: Sequence[PackRequirements]) -> list[str]:
    return [one for more in found for one in more.requirements]


def note_of(pack: str, recipe: Recipe | None, read: ReadFile) -> str | None:
    """Return what has to be known of a pack with a script that is not run, None where there is nothing."""
    if read(SCRIPT) is None:
        return None
    if recipe is None:
        return (
            f"The node pack {pack} has an {SCRIPT}, which is not run: what it would install or download is not there."
        )
    if not recipe.models:
        return None
    return (
        f"The {SCRIPT} of the node pack {pack} is not run; what it would download has to be among the models of the "
        f"version where the workflow uses it: {', '.join(recipe.models)}."
    )

"""Whether an engine has what a version needs, and if not, what is different: a pure decision.

What keeps a run away is what would make it fail: a node class or a model that the engine lacks. A worker that builds
runtimes lacks no class that the version says how to have. What is only told may change a result and is not held against
a worker whose own ComfyUI has everything: its version or commit, and the commits of node packs.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath

from runflow.protocol.abilities import PICKLES, ModelFile, NodePack, Sandbox
from runflow.protocol.runtimes import Builds
from runflow.sources.named import SourceKind
from runflow.workers.abilities import EngineAbilities
from runflow.workflows.runtime.requirements import NeededModel, NeededPack, Requirements

MOST_NAMED = 5
"""Of more names than this, a sentence says only how many there are."""
MOST_WORKERS = 3
"""Of more workers than this, a sentence says only how many there are."""
MOST_STEPS = 2
_SHORT = 10


class DifferenceCode(StrEnum):
    """What is different."""

    ABILITIES_INCOMPLETE = "ABILITIES_INCOMPLETE"
    NODE_TYPE_MISSING = "NODE_TYPE_MISSING"
    MODEL_MISSING = "MODEL_MISSING"
    MODEL_DIFFERS = "MODEL_DIFFERS"
    LABEL_MISSING = "LABEL_MISSING"
    GPU_CLASS = "GPU_CLASS"
    GPU_MEMORY = "GPU_MEMORY"
    FILES_NOT_SEPARATED = "FILES_NOT_SEPARATED"
    RUN_REFUSED = "RUN_REFUSED"
    SOURCE_NOT_APPROVED = "SOURCE_NOT_APPROVED"
    RUNTIME_BUILD_FAILED = "RUNTIME_BUILD_FAILED"
    RUNTIME_BUILT = "RUNTIME_BUILT"
    COMFYUI_DIFFERS = "COMFYUI_DIFFERS"
    NODE_PACK_DIFFERS = "NODE_PACK_DIFFERS"


@dataclass(frozen=True, slots=True)
class Difference:
    """What a worker lacks or has otherwise: `what` goes on after the worker's name, `next_step` is a sentence.

    `keeps_away`: runs of the version are not offered to the worker. `if_uploaded`: unless the version's organization
    has uploaded the model of this SHA-256, which the worker then fetches. `if_approved`: unless the operator has
    approved all of these sources (origin and commit).
    """

    code: DifferenceCode
    what: str
    next_step: str
    keeps_away: bool = True
    if_uploaded: str | None = None
    if_approved: frozenset[tuple[str, str]] = frozenset()


def satisfies(
    version: Requirements, engine: EngineAbilities | None, uploaded: Collection[str] = ()
) -> list[Difference]:
    """Return what differs between what a version needs and what an engine has; nothing where its worker told nothing.

    `uploaded`: the SHA-256 of models that the version's organization has uploaded.
    """
    if engine is None:
        return []
    if not engine.complete:
        return [
            Difference(
                DifferenceCode.ABILITIES_INCOMPLETE,
                "has not told yet what its engine has",
                "Wait a moment; if it stays so, look at the worker's log.",
            )
        ]
    classes = list(_node_types(version, engine))
    if classes and engine.builds is not Builds.OFF:
        classes = _built(version, engine, classes)
    return [
        *classes,
        *(found for model in version.models if (found := _model(model, engine, uploaded)) is not None),
        *_cached(version, engine),
        *_only_told(version, engine),
    ]


def lacks_labels(wanted: Mapping[str, str] | None, has: Mapping[str, str]) -> list[Difference]:
    """Return the labels that a workflow asks for and a worker does not have."""
    missing = [f"{name}={value}" for name, value in (wanted or {}).items() if has.get(name) != value]
    if not missing:
        return []
    flags = " ".join(f"--label {one}" for one in missing)
    return [
        Difference(
            DifferenceCode.LABEL_MISSING,
            f"lacks the {_nouns('label', missing)}",
            f"Start the worker with `{flags}`, or change the workflow's `worker_labels`.",
        )
    ]


def lacks_gpu(gpu_class: str, gpu_code: str) -> list[Difference]:
    """Return that a worker is of none of the GPU classes (`auto`, or codes such as `L40S,A100`) that are asked for."""
    if gpu_class == "auto" or gpu_code in gpu_class.split(","):
        return []
    return [
        Difference(
            DifferenceCode.GPU_CLASS,
            f"has the GPU class {gpu_code}, not {gpu_class.replace(',', ' or ')}",
            "Start a worker of that class, or set the workflow's `gpu_mode` to `auto`.",
        )
    ]


def lacks_memory(least_gb: int, memory_gb: int) -> list[Difference]:
    """Return that a worker's GPU has less memory than is needed, in GiB; nothing where its memory is 0: not known."""
    if memory_gb == 0 or memory_gb >= least_gb:
        return []
    return [
        Difference(
            DifferenceCode.GPU_MEMORY,
            f"has {memory_gb} GiB of GPU memory, where about {least_gb} GiB are needed",
            LARGER_GPU,
        )
    ]


LARGER_GPU = (
    "Start a worker with a larger GPU; or, if a smaller one is enough, set the workflow's `gpu_mode` to `explicit` and "
    "name its class."
)


def serves_operator_only(sandbox: Sandbox | None, several: bool) -> bool:
    """Tell whether a worker may serve the operator's organization only; `several`: there are others.

    Its engine does not keep the files of organizations apart, and its operator has not said that they trust each other.
    """
    return several and sandbox is not None and not sandbox.separates_files and sandbox.isolation != "worker"


def keeps_files_together(sandbox: Sandbox | None, several: bool, *, is_operator: bool) -> list[Difference]:
    """Return that a worker serves the operator's organization only, where the runs are another's."""
    if is_operator or sandbox is None or not serves_operator_only(sandbox, several):
        return []
    why = f" ({sandbox.why_not_better.rstrip('.')})" if sandbox.why_not_better else ""
    return [
        Difference(
            DifferenceCode.FILES_NOT_SEPARATED,
            f"cannot keep the files of organizations apart{why}, so it runs the operator's only",
            "Give its machine what its engine's sandbox needs (`runflow comfyui check` says what), or set "
            "RUNFLOW_ISOLATION=worker there if all organizations trust each other.",
        )
    ]


def sentences(found: Sequence[tuple[str, Sequence[Difference]]]) -> tuple[str, str] | None:
    """Return what keeps runs away from workers, by their names, as one text without its period, and the next step."""
    away = [(name, [one for one in differences if one.keeps_away]) for name, differences in found]
    away = [(name, differences) for name, differences in away if differences]
    if not away:
        return None
    told = [f"{name} {_joined(differences)}" for name, differences in away[:MOST_WORKERS]]
    if len(away) > MOST_WORKERS:
        told.append(f"{len(away) - MOST_WORKERS} more workers cannot either")
    # The nearest to being able says what to do.
    nearest = min(away, key=lambda one: len(one[1]))[1]
    return "; ".join(told), " ".join(dict.fromkeys(one.next_step for one in nearest[:MOST_STEPS]))


def _joined(differences: Sequence[Difference]) -> str:
    shown = [one.what for one in differences[:MOST_NAMED]]
    if len(differences) > MOST_NAMED:
        shown.append(f"{len(differences) - MOST_NAMED} things more")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _node_types(version: Requirements, engine: EngineAbilities) -> Iterator[Difference]:
    if engine.node_types is None:
        return
    missing = [name for name in version.node_types if name not in engine.node_types]
    for pack in version.packs:
        provided = [name for name in missing if name in pack.classes]
        if provided:
            missing = [name for name in missing if name not in pack.classes]
            where = f" from {pack.origin}" if pack.origin else ""
            state = f" at commit {pack.commit[:_SHORT]}" if pack.commit else ""
            yield Difference(
                DifferenceCode.NODE_TYPE_MISSING,
                f"lacks the {_nouns('node class', provided)} (pack {pack.name}{state})",
                f"Install the node pack {pack.name}{where}{state} into the worker's ComfyUI, and restart the worker.",
            )
    if missing:
        yield Difference(
            DifferenceCode.NODE_TYPE_MISSING,
            f"lacks the {_nouns('node class', missing)}",
            "Install the node pack that provides it into the worker's ComfyUI and restart the worker, or remove the "
            "node.",
        )


def is_built(differences: Iterable[Difference]) -> bool:
    """Tell whether a worker executes the version in a runtime that it builds, not in its own ComfyUI."""
    return any(one.code is DifferenceCode.RUNTIME_BUILT for one in differences)


def _built(version: Requirements, engine: EngineAbilities, lacks: list[Difference]) -> list[Difference]:
    """Return what stands in the way of a runtime that has the classes which an engine lacks."""
    if version.unbuildable:
        why = f"No runtime can be built for it, for its manifest {version.unbuildable}."
        return [replace(one, next_step=f"{one.next_step} {why}") for one in lacks]
    if not _would_help(version, engine):
        return lacks
    found = [Difference(DifferenceCode.RUNTIME_BUILT, "builds a ComfyUI of its own for it", "", keeps_away=False)]
    if engine.builds is Builds.APPROVED and version.sources:
        found.append(
            Difference(
                DifferenceCode.SOURCE_NOT_APPROVED,
                "builds a ComfyUI of its own for it once the operator has approved its sources",
                "Approve them: `runflow sources list` shows what waits, `runflow sources approve` approves.",
                if_approved=frozenset(one.key for one in version.sources),
            )
        )
    return found


def failed_for_good(why: str) -> Difference:
    """Return that a worker could not build a version's runtime, for a reason that stays."""
    return Difference(
        DifferenceCode.RUNTIME_BUILD_FAILED,
        f"could not build a ComfyUI of its own for it: {why.rstrip('.')}",
        "Correct the workflow and deploy it again; or have it tried once more: `runflow prebuild`.",
    )


def lacks_found_sources(found: Sequence[tuple[str, str, str]]) -> list[Difference]:
    """Return that packages wait for approval, each by who wants it, origin and commit, which a build has found."""
    return [
        Difference(
            DifferenceCode.SOURCE_NOT_APPROVED,
            f"builds a ComfyUI of its own for it once the operator has approved {origin} at {commit[:_SHORT]}, which "
            f"{name} wants",
            f"Approve it: `runflow sources approve {origin}@{commit}`, or ask the operator to.",
        )
        for name, origin, commit in found
    ]


def _would_help(version: Requirements, engine: EngineAbilities) -> bool:
    """Tell whether another ComfyUI, or the packs, may have the missing classes."""
    is_same = (version.comfyui_commit or "") == (engine.comfyui_commit or "?")
    if not is_same and (version.comfyui_commit or version.comfyui_version != engine.comfyui_version):
        return True
    missing = {name for name in version.node_types if name not in (engine.node_types or ())}
    packs = [one for one in version.sources if one.kind is SourceKind.NODE_PACK]
    told = {name for one in packs for name in one.classes}
    return missing <= told or any(not one.classes for one in packs)


def _model(model: NeededModel, engine: EngineAbilities, uploaded: Collection[str]) -> Difference | None:
    if engine.models is None:
        return None
    found = engine.models.find(model.path)
    is_other = found is not None and None not in (model.sha256, found.sha256) and found.sha256 != model.sha256
    if found is not None and not is_other:
        return None
    if engine.fetches_addresses and model.sha256 is not None and model.sha256 in engine.models.contents:
        return None  # in another place of its own
    put = f"Put the file into models/{model.path} of the worker's ComfyUI"
    is_fetched = (model.has_address and engine.fetches_addresses) or (model.sha256 and engine.places_models)
    suffix = PurePosixPath(model.path).suffix.lower()
    if is_fetched and suffix in PICKLES and not engine.allows_pickle:
        step = f"{put}, or let its operator set RUNFLOW_WORKER_ALLOW_PICKLE: {suffix} files can hold code."
        return Difference(_code(found), _lacks(model, found), step)
    if is_fetched and model.has_address and engine.fetches_addresses:
        return None
    if not is_fetched or (found is not None and not engine.fetches_addresses):
        step = (
            f"{put}."
            if found is None
            else (f"Replace models/{found.path} on the worker, or deploy the workflow with the file that it has.")
        )
        return Difference(_code(found), _lacks(model, found), step)
    if model.sha256 in uploaded:
        return None
    step = f"{put}, or upload it (`POST /v1/model-uploads`; Deploy does so where uploads are on)."
    return Difference(_code(found), _lacks(model, found), step, if_uploaded=model.sha256)


def _cached(version: Requirements, engine: EngineAbilities) -> Iterator[Difference]:
    """What it is asked to fetch into caches and will not; who fetches from no address is not asked."""
    if not version.cached_pickles or not engine.fetches_addresses or engine.allows_pickle:
        return
    yield Difference(
        DifferenceCode.MODEL_MISSING,
        f"fetches no {_nouns('file', list(version.cached_pickles))} for the caches of libraries, in a format that can "
        "hold code",
        "Let its operator set RUNFLOW_WORKER_ALLOW_PICKLE, or deploy with nodes that load .safetensors files.",
    )


def _code(found: ModelFile | None) -> DifferenceCode:
    return DifferenceCode.MODEL_MISSING if found is None else DifferenceCode.MODEL_DIFFERS


def _lacks(model: NeededModel, found: ModelFile | None) -> str:
    if found is None or found.sha256 is None or model.sha256 is None:
        return f'lacks the model "{model.path}"'
    return (
        f'has another file as the model "{model.path}": its SHA-256 is {found.sha256[:_SHORT]}…, not '
        f"{model.sha256[:_SHORT]}…"
    )


def _only_told(version: Requirements, engine: EngineAbilities) -> Iterator[Difference]:
    wanted, has = version.comfyui_commit, engine.comfyui_commit
    if not wanted or not has:
        wanted, has = version.comfyui_version, engine.comfyui_version
    if wanted and has and wanted.removeprefix("v") != has.removeprefix("v"):
        yield Difference(
            DifferenceCode.COMFYUI_DIFFERS,
            f"has ComfyUI {has[:40]}, where the workflow was made with {wanted[:40]}",
            "Test the workflow there, or install that ComfyUI on the worker.",
            keeps_away=False,
        )
    packs = {pack.folder.lower(): pack for pack in engine.node_packs or ()}
    for pack in version.packs:
        found = packs.get(pack.name.lower()) or _by_origin(pack, packs.values())
        if found is not None and pack.commit and found.commit and found.commit != pack.commit:
            yield Difference(
                DifferenceCode.NODE_PACK_DIFFERS,
                f"has the node pack {pack.name} at commit {found.commit[:_SHORT]}, where the workflow was made with "
                f"{pack.commit[:_SHORT]}",
                "Test the workflow there, or check out that commit on the worker and restart it.",
                keeps_away=False,
            )


def _by_origin(wanted: NeededPack, packs: Iterable[NodePack]) -> NodePack | None:
    if not wanted.origin:
        return None
    origin = _plain(wanted.origin)
    return next((pack for pack in packs if pack.origin and _plain(pack.origin) == origin), None)


def _plain(origin: str) -> str:
    return origin.strip().rstrip("/").removesuffix(".git").lower()


def _nouns(noun: str, names: list[str]) -> str:
    """Return `label a`, or `labels a, b and 3 more`."""
    if len(names) == 1:
        return f"{noun} {names[0]}"
    several = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    shown = names if len(names) <= MOST_NAMED else [*names[: MOST_NAMED - 1], f"{len(names) - MOST_NAMED + 1} more"]
    return f"{several} {', '.join(shown[:-1])} and {shown[-1]}"

"""One set of Python packages for ComfyUI and all packs of a runtime, locked with hashes, or whose fault it is."""

import contextlib
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.packages.blame import Blame, find_blame
from runflow.worker.runtime.packages.families import replaced, unified
from runflow.worker.runtime.packages.requirements import (
    MOST_CHARACTERS,
    GitRequirement,
    PackRequirements,
    plain_requirement,
)
from runflow.worker.runtime.packages.stand_ins import make_stand_ins
from runflow.worker.runtime.packages.uv_compile import (
    Compiled,
    Compiler,
    NoSolution,
    Question,
    ResolutionFailed,
    SourcePackage,
)
from runflow.worker.runtime.torch_build import TRIO

MOST_REQUIREMENTS = 2_000
"""Most requirements of ComfyUI and all packs together."""
MOST_SECONDS = 300.0
"""Most seconds of one run of uv."""

MOST_SOURCES = 40
"""Most packages that are built from source for one runtime."""
_MOST_TRIALS = 40
"""Most packs that are tried one by one to learn which of them holds a package back."""
_CHOSEN_WITH_TORCH = ("nvidia-", "cuda-", "triton", "pytorch-triton")
"""What comes with a build of torch, so that the author's versions of it mean another machine."""


@dataclass(frozen=True, slots=True)
class ResolveAsk:
    """What has to fit together. `comfyui`: its requirements without torch; `preferences`: the author's versions.

    `built`: by name, wheels made here of what packs want from repositories, once that was approved, and of source
    packages. Each is the only one of its name, whatever an index has. `unbuildable`: source packages not to be taken.
    """

    comfyui: Sequence[str]
    packs: Sequence[PackRequirements] = ()
    preferences: Mapping[str, str] = field(default_factory=dict)
    built: Mapping[str, Path] = field(default_factory=dict)
    unbuildable: frozenset[str] = frozenset()
    cuda: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """The packages of a runtime.

    `lock` has a hash for every file and is installed without looking at dependencies again; torch is not in it, and
    wheels that were built stand in it with their places.
    `held`: sentences about packs that keep a package of ComfyUI back. `dropped`: the author's versions that could not
    be kept. `git`: what packs want from repositories, which is in no lock before it was approved, built, and handed in
    as `built`. `sources`: packages that come as source alone, and are to be built and handed in likewise. Where there
    are some, all else but `git` is not known yet.
    """

    lock: str
    packages: dict[str, str]
    held: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    sources: tuple[SourcePackage, ...] = ()
    git: tuple[GitRequirement, ...] = ()


def resolve(
    ask: ResolveAsk,
    environment: Environment,
    *,
    cache: Path | None = None,
    seconds: float = MOST_SECONDS,
    within: Path | None = None,
) -> Resolution:
    """Find one set of packages for ComfyUI and all packs, for an environment in which torch is installed already.

    Wheels are taken where there are any. A package that has none for this machine is named as one to be built; also
    one for whose want an older version of what a pack asks for would be taken. No code of a package runs. `cache` is
    uv's. `within`: a folder of ours for what is written meanwhile, by default that of the environment. Raises
    ResolutionFailed with the packs to blame.
    """
    comfyui = _read(ask.comfyui, "ComfyUI")
    packs = {pack.pack: [*_read(pack.requirements, f"the pack {pack.pack}"), *_built(ask, pack)] for pack in ask.packs}
    asked = [*comfyui, *(one for requirements in packs.values() for one in requirements)]
    if len(asked) > MOST_REQUIREMENTS:
        raise ResolutionFailed(
            f"ComfyUI and the packs have {len(asked)} requirements together; {MOST_REQUIREMENTS} are resolved. Remove "
            "packs that the workflow does not use."
        )
    # uv obeys settings that it finds in a folder above: not in one where others write.
    with tempfile.TemporaryDirectory(prefix="runflow-resolve-", dir=within or environment.root.parent) as scratch:
        env = {"UV_CACHE_DIR": str(cache)} if cache else {}
        compiler = Compiler(environment, Path(scratch), seconds, env)
        torch = make_stand_ins(environment.site_packages, TRIO, Path(scratch))
        built = [f"{name} @ {wheel.as_uri()}" for name, wheel in ask.built.items()]
        solver = _Solver(compiler, torch, built, ask.cuda, ask.unbuildable.union(ask.built))
        named = {canonicalize_name(one.name) for requirements in packs.values() for one in requirements}
        git = tuple(one for pack in ask.packs for one in pack.git)
        try:
            solved, kept = _with_preferences(solver, asked, _keepable(ask, asked), named)
        except NoSolution as failed:
            raise _failure(solver, comfyui, packs, failed.words) from None
        if solved.sources:
            return Resolution("", {}, sources=_wanted(solver, comfyui, packs, solved.sources), git=git)
        return Resolution(
            lock=solved.lock,
            packages=solved.packages,
            held=tuple(_held(solver, comfyui, packs, kept, solved.packages)),
            dropped=tuple(_dropped(ask.preferences, solved.packages)),
            git=git,
        )


@dataclass(slots=True)
class _Solver:
    """Answers what packages satisfy requirements, given the torch that is there.

    `sources`: packages that may be taken without a wheel, as was found out; never those of `not_sources`.
    """

    compiler: Compiler
    torch: Mapping[str, str]
    built: Sequence[str]
    cuda: bool
    not_sources: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()

    def solve(
        self,
        requirements: Sequence[Requirement],
        preferences: Mapping[str, str],
        *,
        more_sources: bool = False,
        deep: bool = True,
    ) -> Compiled:
        """Return a set of packages with one of each family. Raises NoSolution.

        `more_sources`: what has no wheel, and is in the way, is added to `sources`, unless there is no set even so.
        """
        constraints = [
            *self.torch.values(),
            *self.built,
            *(f"{name}=={version}" for name, version in preferences.items()),
        ]
        before = self.sources
        seen: set[str] = set()
        try:
            while True:
                asked, overrides = unified(requirements, seen, self.cuda)
                solved = self._compiled(Question(asked, constraints, overrides, deep), more_sources)
                # Something else may depend on another one of a family; it is known once it is in the set.
                if not (found := replaced(solved.packages, self.cuda) - seen):
                    return solved
                seen |= found
        except NoSolution:
            self.sources = before
            raise

    def _compiled(self, question: Question, more_sources: bool) -> Compiled:
        while True:
            try:
                return self.compiler.compile(question, self.sources)
            except NoSolution as failed:
                found = failed.without_wheels - self.sources - self.not_sources
                if not more_sources or not found or len(self.sources) >= MOST_SOURCES:
                    raise
                self.sources |= found


def _read(lines: Sequence[str], whose: str) -> list[Requirement]:
    found = []
    for line in lines:
        try:
            if len(line) > MOST_CHARACTERS:
                raise InvalidRequirement(line)
            found.append(plain_requirement(line))
        except InvalidRequirement:
            raise ResolutionFailed(
                f"The requirement {line[:120]!r} of {whose} names no package and its versions. Take another commit, "
                "whose requirements do."
            ) from None
    return found


def _built(ask: ResolveAsk, pack: PackRequirements) -> list[Requirement]:
    """Return what a pack wants from repositories and was built, as requirements of its own."""
    return [
        Requirement(f"{one.name} ; {one.marker}" if one.marker else one.name)
        for one in pack.git
        if one.name and one.name in ask.built
    ]


def _keepable(ask: ResolveAsk, asked: Sequence[Requirement]) -> dict[str, str]:
    """Return the author's versions that may be kept: no requirement excludes them, and they mean every machine."""
    others = replaced(ask.preferences, ask.cuda)
    excluded = {
        name
        for one in asked
        if (name := canonicalize_name(one.name)) in ask.preferences and _excludes(one, ask.preferences[name])
    }
    return {
        name: version
        for name, version in sorted(ask.preferences.items())
        if name not in excluded.union(others, TRIO, ask.built) and not name.startswith(_CHOSEN_WITH_TORCH)
    }


def _excludes(requirement: Requirement, version: str) -> bool:
    return not requirement.specifier.contains(version, prereleases=True)


def _with_preferences(
    solver: _Solver, asked: Sequence[Requirement], preferences: Mapping[str, str], named: Collection[str]
) -> tuple[Compiled, Mapping[str, str]]:
    """Solve with all of the author's versions, else with those that are asked for by name, else with none.

    `named` are the packages that packs ask for.
    """
    by_name = {canonicalize_name(one.name) for one in asked}
    direct = {name: version for name, version in preferences.items() if name in by_name}
    choices = [preferences, *([direct] if direct != preferences else [])]
    with contextlib.suppress(NoSolution):
        return _improved(solver, asked, preferences, named, solver.solve(asked, preferences)), preferences
    # An old version that the author has may lack wheels while others have some: that is no reason to build it.
    found = solver.solve(asked, {}, more_sources=True)
    _raised(solver, asked, {}, _newest(solver, asked, preferences, named), found)
    for kept in choices if solver.sources else choices[1:]:
        with contextlib.suppress(NoSolution):
            return _improved(solver, asked, kept, named, solver.solve(asked, kept)), kept
    return _improved(solver, asked, {}, named, solver.solve(asked, {})), {}


def _improved(
    solver: _Solver,
    asked: Sequence[Requirement],
    preferences: Mapping[str, str],
    named: Collection[str],
    solved: Compiled,
) -> Compiled:
    """Return what is solved when nothing that packs ask for is older only because something below it has no wheel.

    What has wheels itself is never built for the sake of a newer version of it.
    """
    return _raised(solver, asked, preferences, _newest(solver, asked, preferences, named), solved)


def _newest(
    solver: _Solver, asked: Sequence[Requirement], preferences: Mapping[str, str], named: Collection[str]
) -> dict[str, str]:
    """Return the versions of the named packages that would be taken if they depended on nothing."""
    try:
        found = solver.solve(asked, preferences, deep=False).packages if named else {}
    except NoSolution:
        return {}
    return {name: version for name, version in found.items() if name in named}


def _raised(
    solver: _Solver,
    asked: Sequence[Requirement],
    preferences: Mapping[str, str],
    newest: Mapping[str, str],
    solved: Compiled,
) -> Compiled:
    """Return what is solved with those of the newest versions that lack nothing but a wheel of something below."""
    pinned: list[Requirement] = []
    for name in _lowered(solved.packages, newest)[:_MOST_TRIALS]:
        one, before = Requirement(f"{name}=={newest[name]}"), solver.sources
        with contextlib.suppress(NoSolution):
            found = solver.solve([*asked, *pinned, one], preferences, more_sources=True)
            if solver.sources != before:  # else it is older for another reason
                solved, pinned = found, [*pinned, one]
    return solved


def _wanted(
    solver: _Solver,
    comfyui: Sequence[Requirement],
    packs: Mapping[str, Sequence[Requirement]],
    sources: Sequence[SourcePackage],
) -> tuple[SourcePackage, ...]:
    """Return source packages with the packs that want each: by its name, else as each pack shows alone."""
    by_name = {pack: {canonicalize_name(one.name) for one in requirements} for pack, requirements in packs.items()}
    below: dict[str, set[str]] = {}
    if any(not any(one.name in names for names in by_name.values()) for one in sources):
        for pack in [pack for pack, requirements in packs.items() if requirements][:_MOST_TRIALS]:
            with contextlib.suppress(NoSolution):
                below[pack] = set(solver.solve([*comfyui, *packs[pack]], {}).packages)
    return tuple(
        replace(
            one,
            packs=tuple(pack for pack, names in by_name.items() if one.name in names)
            or tuple(pack for pack, names in below.items() if one.name in names),
        )
        for one in sources
    )


def _dropped(preferences: Mapping[str, str], packages: Mapping[str, str]) -> list[str]:
    return sorted(
        f"{name}=={version}" for name, version in preferences.items() if packages.get(name, version) != version
    )


def _lowered(these: Mapping[str, str], those: Mapping[str, str]) -> list[str]:
    """Return which packages are older in the first set than in the second."""
    return [name for name in these if name in those and Version(these[name]) < Version(those[name])]


def _held(
    solver: _Solver,
    comfyui: Sequence[Requirement],
    packs: Mapping[str, Sequence[Requirement]],
    preferences: Mapping[str, str],
    together: Mapping[str, str],
) -> list[str]:
    """Return a sentence for each pack that keeps a package older than ComfyUI alone would have it."""
    if not any(packs.values()):
        return []
    try:
        alone = solver.solve(comfyui, preferences).packages
    except NoSolution:
        return []
    sentences: list[str] = []
    unexplained: list[str] = []
    for name in _lowered(together, alone):
        asking = [
            f"The pack {pack} holds {name} at {together[name]} for all (it asks for {one.name}{one.specifier})."
            for pack, requirements in packs.items()
            for one in requirements
            if canonicalize_name(one.name) == name and _excludes(one, alone[name])
        ]
        sentences += asking
        if not asking:
            unexplained.append(name)
    return [*sentences, *_held_from_below(solver, comfyui, packs, preferences, together, alone, unexplained)]


def _held_from_below(
    solver: _Solver,
    comfyui: Sequence[Requirement],
    packs: Mapping[str, Sequence[Requirement]],
    preferences: Mapping[str, str],
    together: Mapping[str, str],
    alone: Mapping[str, str],
    names: Sequence[str],
) -> list[str]:
    """Return the sentences for what no pack asks for itself: each is tried with ComfyUI alone."""
    sentences = []
    for pack in [pack for pack, requirements in packs.items() if requirements][:_MOST_TRIALS] if names else ():
        try:
            found = solver.solve([*comfyui, *packs[pack]], preferences).packages
        except NoSolution:
            continue
        lowered = set(_lowered(found, alone))
        sentences += [
            f"The pack {pack} holds {name} at {together[name]} for all (by what its requirements depend on)."
            for name in names
            if name in lowered
        ]
    return sentences


def _failure(
    solver: _Solver, comfyui: Sequence[Requirement], packs: Mapping[str, Sequence[Requirement]], words: str
) -> ResolutionFailed:
    def fails(names: Sequence[str]) -> str | None:
        try:
            solver.solve([*comfyui, *(one for name in names for one in packs[name])], {}, more_sources=True)
        except NoSolution as failed:
            return failed.words
        return None

    blame = find_blame([name for name, requirements in packs.items() if requirements], words, fails)
    told = [_told(blame)]
    if "torch" in blame.reason:
        told.append(f"There is {', '.join(solver.torch)}.")
    return ResolutionFailed(f"{' '.join(told)} uv says:\n{blame.reason}", blame.packs)


def _told(blame: Blame) -> str:
    names = " and ".join(filter(None, [", ".join(blame.packs[:-1]), *blame.packs[-1:]]))
    if not blame.packs:
        return "ComfyUI's own requirements cannot be satisfied here, whatever the packs. Are the package indexes right?"
    if len(blame.packs) == 1:
        return f"The pack {names} asks for what cannot be had beside ComfyUI. Take another commit of it, or remove it."
    if blame.apart:
        return f"The packs {names} each ask for what cannot be had beside ComfyUI. Take other commits, or remove them."
    return f"The packs {names} ask for what cannot be had together. Take another commit of one, or remove it."

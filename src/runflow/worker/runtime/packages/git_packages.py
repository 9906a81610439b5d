"""Packages that node packs want from repositories: each at a commit, built to a wheel in the sandbox, and kept."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name, parse_wheel_filename

from runflow.worker.runtime.build.environments import environment_in
from runflow.worker.runtime.build.failed import SourceNotApproved
from runflow.worker.runtime.build.folder import Runtime
from runflow.worker.runtime.build.workshop import Workshop
from runflow.worker.runtime.commands import InstallError, in_thread, run
from runflow.worker.runtime.confined.confined import remove_folder
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.packages.requirements import GitRequirement
from runflow.worker.runtime.packages.wheels import build_requirements, build_wheel
from runflow.worker.runtime.report import Reporter
from runflow.worker.runtime.sources.mirrors import MayFetch

_FETCH_SECONDS = 900
_SOURCE, _REQUIRES, _BUILT = "source", "requires", "built"


@dataclass(frozen=True, slots=True)
class BuiltPackage:
    """A wheel, and where its source came from."""

    name: str
    wheel: Path
    origin: str
    commit: str


class PackageNotBuilt(InstallError):
    """A package that a pack wants from a repository cannot be had. `packs`: that pack."""

    def __init__(self, message: str, packs: tuple[str, ...]) -> None:
        """Keep whom to blame."""
        self.packs = packs
        super().__init__(message)


async def build_packages(
    workshop: Workshop,
    torch: Runtime,
    wanted: Sequence[GitRequirement],
    may_fetch: MayFetch,
    reporter: Reporter,
    log: Path,
) -> dict[GitRequirement, BuiltPackage]:
    """Build those that this machine needs, and return each; what was built of a commit before is taken as it is.

    `torch` is the environment whose Python builds. Raises `PackageNotBuilt`, and what `may_fetch` raises.
    """
    found: dict[GitRequirement, BuiltPackage] = {}
    named: dict[str, BuiltPackage] = {}
    for one in wanted:
        if not _applies(one):
            continue
        try:
            commit = one.commit
            if commit is None:
                commit = await in_thread(partial(workshop.mirrors.look_up, one.origin, one.ref))
            may_fetch(one.origin, commit)
            reporter.step(f"Building {one.name or one.origin} at {commit[:10]}, which the pack {one.pack} wants")
            built = await _built(workshop, torch, one, commit, log)
        except SourceNotApproved as waits:
            raise SourceNotApproved(
                f"The pack {one.pack} wants a package: {waits}", waits.source, (one.pack,)
            ) from waits
        except InstallError as error:
            raise PackageNotBuilt(
                f"The pack {one.pack} wants {one.name or 'a package'} from {one.origin}. {error}", (one.pack,)
            ) from error
        found[one] = built
        other = named.setdefault(canonicalize_name(built.name), built)
        if (other.origin, other.commit) != (built.origin, built.commit):
            raise PackageNotBuilt(
                f"{built.name} is wanted from {other.origin} at {other.commit} and, by the pack {one.pack}, from "
                f"{built.origin} at {built.commit}. Take commits of the packs that agree.",
                (one.pack,),
            )
    return found


def _applies(one: GitRequirement) -> bool:
    try:
        return one.marker is None or Marker(one.marker).evaluate()
    except InvalidMarker:
        return True


async def _built(workshop: Workshop, torch: Runtime, one: GitRequirement, commit: str, log: Path) -> BuiltPackage:
    subdirectory = PurePosixPath(one.subdirectory or ".")
    if subdirectory.is_absolute() or ".." in subdirectory.parts:
        raise InstallError(f"Its subdirectory {one.subdirectory!r} lies outside of the repository.")
    key = hashlib.sha256(f"{one.origin}\n{commit}\n{subdirectory}\n{torch.fingerprint}".encode()).hexdigest()[:32]

    async def make(part: Path) -> None:
        await _build(workshop, torch, one, commit, subdirectory, part, log)
        for place in (part / _SOURCE, part / _REQUIRES):
            await asyncio.to_thread(remove_folder, place)

    kept = (await workshop.wheels.build(key, make)).folder / _BUILT
    wheel = next(iter(sorted(kept.glob("*.whl"))), None)
    if wheel is None:
        raise InstallError(f"Its wheel is not in {kept}. Remove {kept.parent}, and it is built anew.")
    return BuiltPackage(str(parse_wheel_filename(wheel.name)[0]), wheel, one.origin, commit)


async def _build(
    workshop: Workshop,
    torch: Runtime,
    one: GitRequirement,
    commit: str,
    subdirectory: PurePosixPath,
    work: Path,
    log: Path,
) -> None:
    """Build the one wheel below `work`, which is empty."""
    environment = environment_in(workshop, torch.folder)
    tree, wheels, into = work / _SOURCE, work / _REQUIRES, work / _BUILT
    await in_thread(lambda: workshop.mirrors.checkout(one.origin, commit, tree))
    source = tree / subdirectory
    if not source.is_dir():
        raise InstallError(f"{one.origin} has no folder {one.subdirectory!r} at {commit}.")
    for folder in (wheels, into):
        folder.mkdir()
    if needed := build_requirements(source):
        await in_thread(lambda: _fetch_wheels(environment, needed, wheels))
    await build_wheel(
        source,
        name=one.name or _name_of(one.origin),
        version=None,
        python=environment.python,
        uv=workshop.uv,
        build_requires_wheels=wheels,
        into=into,
        log=log,
    )


def _fetch_wheels(environment: Environment, needed: Sequence[str], into: Path) -> None:
    run(
        [environment.python, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", into, *needed],
        what=f"Fetching what builds it ({', '.join(needed)})",
        env={**environment.indexes.environment_for_pip(), "PYTHONPATH": ""},
        timeout=_FETCH_SECONDS,
    )


def _name_of(origin: str) -> str:
    """Return what a package is called whose requirement does not say: as its repository, or the build is refused."""
    return PurePosixPath(urlsplit(origin).path.rstrip("/")).name.removesuffix(".git") or "package"

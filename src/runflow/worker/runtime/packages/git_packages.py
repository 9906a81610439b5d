"""Packages that node packs want from repositories: each at a commit, built to a wheel in the sandbox, and kept."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name, parse_wheel_filename

from runflow.worker.runtime.build.failed import SourceNotApproved
from runflow.worker.runtime.build.folder import Runtime
from runflow.worker.runtime.build.workshop import Workshop
from runflow.worker.runtime.commands import InstallError, in_thread
from runflow.worker.runtime.packages.kept_wheels import SOURCE, PackageNotBuilt, build_kept, kept_wheel
from runflow.worker.runtime.packages.requirements import GitRequirement
from runflow.worker.runtime.report import Reporter
from runflow.worker.runtime.sources.mirrors import MayFetch


@dataclass(frozen=True, slots=True)
class BuiltPackage:
    """A wheel, and where its source came from."""

    name: str
    wheel: Path
    origin: str
    commit: str


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

    async def build(work: Path) -> None:
        tree = work / SOURCE
        await in_thread(lambda: workshop.mirrors.checkout(one.origin, commit, tree))
        source = tree / subdirectory
        if not source.is_dir():
            raise InstallError(f"{one.origin} has no folder {one.subdirectory!r} at {commit}.")
        name = one.name or _name_of(one.origin)
        await build_kept(workshop, torch, source, work, name=name, version=None, log=log)

    wheel = await kept_wheel(workshop, key, build)
    return BuiltPackage(str(parse_wheel_filename(wheel.name)[0]), wheel, one.origin, commit)


def _name_of(origin: str) -> str:
    """Return what a package is called whose requirement does not say: as its repository, or the build is refused."""
    return PurePosixPath(urlsplit(origin).path.rstrip("/")).name.removesuffix(".git") or "package"

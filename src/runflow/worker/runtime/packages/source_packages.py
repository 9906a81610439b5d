"""Packages of the index that come as source alone: fetched by their hash, built confined, and one set of all found.

Whoever approved a pack approved what it asks the index for, a wheel or a source: a source's code runs in the sandbox
before it runs in engines, where a wheel's code would.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from runflow.worker.runtime.build.environments import environment_in
from runflow.worker.runtime.build.folder import Runtime
from runflow.worker.runtime.build.steps import passes
from runflow.worker.runtime.build.workshop import Workshop
from runflow.worker.runtime.commands import InstallError, SourceRefused, in_thread
from runflow.worker.runtime.packages.kept_wheels import SOURCE, PackageNotBuilt, build_kept, kept_wheel
from runflow.worker.runtime.packages.resolve import MOST_SOURCES, Resolution
from runflow.worker.runtime.packages.uv_compile import ResolutionFailed, SourcePackage
from runflow.worker.runtime.report import Reporter
from runflow.worker.runtime.source_package import Archive, fetch_file

MOST_SECONDS = 2 * 3600.0
"""How long all packages of one runtime may take: nothing else is built on the worker meanwhile."""
MOST_ARCHIVE_BYTES = 1 << 30
"""Most bytes of one source archive."""
_ENDS = (".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")

Resolve = Callable[[Mapping[str, Path], frozenset[str]], Resolution]
"""Resolves with these wheels by name, and without these source packages. Raises ResolutionFailed."""


@dataclass(frozen=True, slots=True)
class BuiltSource:
    """A wheel that was built of a source package, and what of."""

    package: SourcePackage
    wheel: Path


async def resolve_and_build(
    workshop: Workshop, torch: Runtime, resolve: Resolve, reporter: Reporter, log: Path
) -> tuple[Resolution, tuple[BuiltSource, ...]]:
    """Resolve, build what has no wheel, and resolve again with that, until there is a lock.

    `torch` is the environment whose Python builds, `log` is what builds say. A package that cannot be built is done
    without where an older version of what wants it can be had. Raises ResolutionFailed, and PackageNotBuilt.
    """
    try:
        async with asyncio.timeout(MOST_SECONDS):
            return await _resolved(workshop, torch, resolve, reporter, log)
    except TimeoutError:
        raise PackageNotBuilt(
            f"Building packages that have no wheel for this machine took more than {MOST_SECONDS / 3600:.0f} hours. "
            "Remove packs that the workflow does not use, or put wheels of those packages into an index.",
            (),
        ) from None


async def _resolved(
    workshop: Workshop, torch: Runtime, resolve: Resolve, reporter: Reporter, log: Path
) -> tuple[Resolution, tuple[BuiltSource, ...]]:
    built: dict[str, BuiltSource] = {}
    failures: dict[str, PackageNotBuilt] = {}
    for _ in range(MOST_SOURCES):
        wheels = {name: one.wheel for name, one in built.items()}
        try:
            resolution = await in_thread(partial(resolve, wheels, frozenset(failures)))
        except ResolutionFailed as error:
            if failures:
                raise next(iter(failures.values())) from error
            raise
        if not resolution.sources:
            used = tuple(one for name, one in sorted(built.items()) if name in resolution.packages)
            for failure in failures.values():
                reporter.note(f"{failure} Older versions are taken, which do not need it.")
            return resolution, used
        for package in resolution.sources:
            what = f"{package.name} {package.version}"
            reporter.step(f"Building {what}, which has no wheel{_wanted_by(package)}")
            try:
                built[package.name] = BuiltSource(package, await _built(workshop, torch, package, log))
            except InstallError as error:
                failure = PackageNotBuilt(
                    f"{what} has no wheel for this machine, and cannot be built{_wanted_by(package)}. {error}",
                    package.packs,
                    may_pass=passes(error),
                )
                if failure.may_pass:
                    raise failure from error
                failures[package.name] = failure
                break  # without it, there may be nothing else to build
    raise PackageNotBuilt(
        f"More than {MOST_SOURCES} packages have no wheel for this machine: {', '.join(sorted(built))} are some of "
        "them. Remove packs that the workflow does not use.",
        (),
    )


def _wanted_by(package: SourcePackage) -> str:
    if not package.packs:
        return ""
    names = " and ".join(filter(None, [", ".join(package.packs[:-1]), package.packs[-1]]))
    return f" (the pack{'s' if len(package.packs) > 1 else ''} {names} want{'' if len(package.packs) > 1 else 's'} it)"


async def _built(workshop: Workshop, torch: Runtime, package: SourcePackage, log: Path) -> Path:
    if "/" in package.file or not package.file.endswith(_ENDS):
        raise SourceRefused(f"{package.file!r} is no source archive by its name.")
    environment = environment_in(workshop, torch.folder)

    async def build(work: Path) -> None:
        place = work / SOURCE
        place.mkdir()
        archive = await in_thread(
            lambda: fetch_file(environment, package.name, package.version, package.file, place, MOST_ARCHIVE_BYTES)
        )
        _refuse_other(package, archive)
        await build_kept(workshop, torch, archive.path, work, name=package.name, version=package.version, log=log)

    # Where the index tells no hash, its word is the file's name: so it is for wheels there.
    told = [package.name, package.version, package.file, package.sha256 or "", torch.fingerprint]
    key = hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]
    return await kept_wheel(workshop, key, build)


def _refuse_other(package: SourcePackage, archive: Archive) -> None:
    if package.sha256 is not None and archive.sha256 != package.sha256:
        raise SourceRefused(
            f"{package.file} has SHA-256 {archive.sha256}, and not {package.sha256}, which its index tells. Nothing of "
            "it was built; ask whoever runs that index."
        )

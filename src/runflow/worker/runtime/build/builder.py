"""From what a version asks for to a ComfyUI that was seen to work: sources, packages, environment, check."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from runflow.worker.runtime.build.checking import Candidate, Checked, ClassesMissing, refuse_missing
from runflow.worker.runtime.build.environments import environment_in, environment_of, torch_environment
from runflow.worker.runtime.build.failed import WHEELS_LOG
from runflow.worker.runtime.build.folder import Runtime
from runflow.worker.runtime.build.looks import Looks
from runflow.worker.runtime.build.manifest import RuntimeAsk
from runflow.worker.runtime.build.recipes import note_of, recipe_of, required_by
from runflow.worker.runtime.build.steps import BuildReport, Step, Tell, failure_of
from runflow.worker.runtime.build.workshop import Workshop
from runflow.worker.runtime.commands import in_thread
from runflow.worker.runtime.environment import requirements_of
from runflow.worker.runtime.packages.git_packages import BuiltPackage, build_packages
from runflow.worker.runtime.packages.requirements import MOST_BYTES, PackRequirements, ReadFile
from runflow.worker.runtime.packages.resolutions import resolved
from runflow.worker.runtime.packages.resolve import Resolution, ResolveAsk
from runflow.worker.runtime.packages.source_packages import resolve_and_build
from runflow.worker.runtime.sources.mirrors import MayFetch, anything
from runflow.worker.runtime.sources.sources import COMFYUI, Sources, SourceWriter
from runflow.worker.runtime.torch_build import Build, fitting_build

Check = Callable[[Candidate, RuntimeAsk, BuildReport], Awaitable[Checked]]
"""Looks at a runtime; raises InstallError where it does not work."""


@dataclass(frozen=True, slots=True)
class BuiltRuntime:
    """A runtime that is there, and the Python that its ComfyUI runs with."""

    runtime: Runtime
    python: Path
    environment: Path
    """The folder of its Python environment."""

    @property
    def comfyui(self) -> Path:
        """The folder of its ComfyUI."""
        return self.runtime.comfyui


class RuntimeBuilder:
    """Builds the runtimes of a machine, one at a time for each fingerprint, whichever worker asks. `close` it at last.

    `check` says whether a build works; None: it is looked at (`Looks`).
    """

    def __init__(self, workshop: Workshop, check: Check | None = None) -> None:
        """Use a workshop, which other workers of the machine may use as well."""
        self.workshop = workshop
        self._looks = Looks(workshop)
        self._check = check or self._looks.look

    async def close(self) -> None:
        """Let go of what is kept for the next look."""
        await self._looks.close()

    async def ready(
        self,
        fingerprint: str,
        ask: RuntimeAsk,
        *,
        may_fetch: MayFetch = anything,
        tell: Tell = lambda _: None,
        force: bool = False,
    ) -> BuiltRuntime:
        """Return the runtime of a fingerprint, built unless it is there.

        `may_fetch` is asked about each source before it is fetched; `tell` hears how that goes. `force`: also where a
        build of it failed for good a short while ago. Raises
        `RuntimeBuildFailed`, also where the runtime that is there lacks node classes that are asked for.
        """
        runtime = await self.workshop.runtimes.build(
            fingerprint, lambda part: self._make(ask, part, may_fetch, tell), force=force
        )
        return self.found(runtime, ask)

    def found(self, runtime: Runtime, ask: RuntimeAsk) -> BuiltRuntime:
        """Return a finished runtime as it is used. Raises `RuntimeBuildFailed` where it lacks what is asked for."""
        record = runtime.record()
        # Another version may have had it built, which has other classes in its prompt.
        try:
            refuse_missing(record["node_types"], ask, record.get("not_imported", {}))
        except ClassesMissing as missing:
            raise failure_of(Step.CHECK, missing, runtime.log) from missing
        environment = environment_in(self.workshop, self.workshop.environments.folder / record["environment"])
        return BuiltRuntime(runtime, environment.python, environment.root)

    async def _make(self, ask: RuntimeAsk, part: Path, may_fetch: MayFetch, tell: Tell) -> dict[str, Any]:
        report = BuildReport(part / "build.log", tell)
        for note in ask.notes:
            report.note(note)
        workshop = self.workshop
        with report.begin(Step.SOURCES, "Fetching ComfyUI and its node packs"):
            sources = await SourceWriter(workshop, may_fetch, report).write(ask.comfyui, ask.packs, part / COMFYUI)
        with report.begin(Step.ENVIRONMENT, "Looking for the torch of this machine"):
            torch = await torch_environment(workshop, report)
        with report.begin(Step.PACKAGES, "Finding one set of packages for ComfyUI and its node packs"):
            required, scripts = await in_thread(partial(self._required, ask, sources, torch, report))
            wanted = [git for pack in required for git in pack.git]
            built = await build_packages(workshop, torch, wanted, may_fetch, report, part / WHEELS_LOG)
            # Many do not say what the package is called; its wheel does.
            required = [
                replace(pack, git=tuple(replace(one, name=built[one].name) for one in pack.git if one in built))
                for pack in required
            ]
            packages = list({one.name: one for one in built.values()}.values())
            resolution, from_source = await resolve_and_build(
                workshop,
                torch,
                partial(self._resolve, ask, part, required, packages, torch),
                report,
                part / WHEELS_LOG,
            )
            for text in (*resolution.held, *(f"The author's {one} is not kept." for one in resolution.dropped)):
                report.note(text)
        with report.begin(Step.ENVIRONMENT, f"Installing {len(resolution.packages)} packages"):
            environment = await environment_of(workshop, torch, resolution, report)
        used = environment_in(workshop, environment.folder)
        with report.begin(Step.CHECK, "Starting ComfyUI to see that it has every node class"):
            try:
                checked = await self._check(Candidate(part / COMFYUI, sources.tree, used), ask, report)
            except ClassesMissing as missing:
                known = [scripts[name] for name in missing.packs if name in scripts]
                raise ClassesMissing(" ".join([str(missing), *known]), missing.packs) from missing
        return self._record(sources, packages, resolution, torch, environment) | {
            "from_source": [
                {"name": one.package.name, "version": one.package.version, "sha256": one.package.sha256}
                for one in from_source
            ],
            "node_types": checked.node_types,
            "not_imported": checked.not_imported,
        }

    def _required(
        self, ask: RuntimeAsk, sources: Sources, torch: Runtime, report: BuildReport
    ) -> tuple[list[PackRequirements], dict[str, str]]:
        """Read what the packs ask for, and what has to be known of those with scripts that are not run."""
        version = str(torch.record()["torch"]) if fitting_build() is Build.CUDA else None
        found: list[PackRequirements] = []
        scripts: dict[str, str] = {}
        for pack in ask.packs:
            read: ReadFile = partial(self._read, pack.origin, pack.commit)
            recipe = recipe_of(pack.origin, self.workshop.recipes)
            parts: list[ReadFile] = [
                partial(self._read, part.origin, part.commit) for part in sources.parts.get(pack.name, ())
            ]
            found.append(required_by(pack.name, recipe, read, parts, version))
            if note := note_of(pack.name, recipe, read):
                scripts[pack.name] = note
            for text in (*found[-1].notes, *([note] if note else [])):
                report.note(text)
        return found, scripts

    def _read(self, origin: str, commit: str, path: str) -> bytes | None:
        return self.workshop.mirrors.read(origin, commit, path, MOST_BYTES)

    def _resolve(
        self,
        ask: RuntimeAsk,
        part: Path,
        required: Sequence[PackRequirements],
        built: Sequence[BuiltPackage],
        torch: Runtime,
        from_source: Mapping[str, Path],
        unbuildable: frozenset[str],
    ) -> Resolution:
        """Find one set of packages for everything that is there."""
        question = ResolveAsk(
            requirements_of(part / COMFYUI, full=False),
            required,
            ask.packages,
            built={**{one.name: one.wheel for one in built}, **from_source},
            unbuildable=unbuildable,
            cuda=fitting_build() is Build.CUDA,
        )
        return resolved(self.workshop, torch, question, part)

    @staticmethod
    def _record(
        sources: Sources,
        built: Sequence[BuiltPackage],
        resolution: Resolution,
        torch: Runtime,
        environment: Runtime,
    ) -> dict[str, Any]:
        return {
            "comfyui": {"origin": sources.comfyui[0], "commit": sources.comfyui[1]},
            "sources": [{"origin": origin, "commit": commit} for origin, commit in sources.all],
            "built": [{"name": one.name, "origin": one.origin, "commit": one.commit} for one in built],
            "packages": resolution.packages,
            "held": list(resolution.held),
            "dropped": list(resolution.dropped),
            "torch": torch.fingerprint,
            "environment": environment.fingerprint,
        }

"""The sources of a runtime: ComfyUI's tree, which runtimes of one commit share, and the node packs below it."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from runflow.protocol.named_packs import OFFICIAL_REPOSITORY
from runflow.worker.runtime.build.failed import SourceNotApproved
from runflow.worker.runtime.build.folder import Runtime
from runflow.worker.runtime.build.manifest import ComfyAsk, PackAsk
from runflow.worker.runtime.build.recipes import Part, parts_of, recipe_of
from runflow.worker.runtime.build.workshop import Workshop
from runflow.worker.runtime.commands import SourceRefused, in_thread
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.packages.requirements import MOST_BYTES, ReadFile
from runflow.worker.runtime.report import Reporter
from runflow.worker.runtime.source import SourceAsk, fetch_source, missing_parts, plan_source
from runflow.worker.runtime.source_package import PACKAGED_RELEASES
from runflow.worker.runtime.sources.mirrors import Checkout, MayFetch

COMFYUI = "comfyui"


class PackRefused(SourceRefused):
    """A node pack cannot be had, or must not be. `packs`: that pack."""

    def __init__(self, message: str, packs: tuple[str, ...]) -> None:
        """Keep whom to blame."""
        self.packs = packs
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Sources:
    """What was written: origin and commit of everything, and of ComfyUI alone. `tree`: that one without packs.

    `parts`: by pack, what was written into its folder by its recipe.
    """

    all: tuple[tuple[str, str], ...]
    comfyui: tuple[str, str]
    tree: Path
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceWriter:
    """Writes the sources of a runtime; `may_fetch` is asked about each before it is fetched."""

    workshop: Workshop
    may_fetch: MayFetch
    reporter: Reporter

    async def write(self, comfyui: ComfyAsk, packs: tuple[PackAsk, ...], into: Path) -> Sources:
        """Write ComfyUI into the folder `into`, which is not there yet, and the packs below its `custom_nodes`.

        Raises SourceRefused, InstallError, and what `may_fetch` raises.
        """
        tree, found = await self._comfyui(comfyui)

        def write() -> Sources:
            shutil.copytree(tree.folder / COMFYUI, into, symlinks=True, copy_function=os.link)
            sources, parts = list(found), {}
            for pack in packs:
                self.reporter.step(f"Fetching the node pack {pack.name} at {pack.commit[:10]}")
                place = into / "custom_nodes" / pack.name
                self.may_fetch(pack.origin, pack.commit)
                # Its commit says which submodules it has, at which commits: who approves it approves those.
                sources += self._checked_out(pack, pack, place, f"The node pack {pack.name}")
                parts[pack.name] = tuple(self._write_parts(pack, place, sources))
                self.workshop.compile(place, share=False)
            return Sources(tuple(sources), found[0], tree.folder / COMFYUI, parts)

        return await in_thread(write)

    def _checked_out(self, pack: PackAsk, source: PackAsk | Part, into: Path, what: str) -> list[tuple[str, str]]:
        """Write a pack, or a part of it, and return what that is made of. Raises PackRefused."""
        try:
            checkout = self.workshop.mirrors.checkout(source.origin, source.commit, into)
        except SourceRefused as refused:
            raise PackRefused(f"{what}: {refused}", (pack.name,)) from refused
        self._note(checkout)
        return list(checkout.sources)

    def _write_parts(self, pack: PackAsk, place: Path, sources: list[tuple[str, str]]) -> Iterator[Part]:
        """Write and yield what a pack has in folders of its own by its recipe; add to `sources` what that is."""
        recipe = recipe_of(pack.origin, self.workshop.recipes)
        read: ReadFile = partial(self.workshop.mirrors.read, pack.origin, pack.commit, most_bytes=MOST_BYTES)
        for part in parts_of(recipe, read):
            into = place / part.folder
            if into.is_symlink() or (into.exists() and not (into.is_dir() and not any(into.iterdir()))):
                continue  # the commit brings its own
            self.reporter.step(f"Fetching {part.folder} of the node pack {pack.name} at {part.commit[:10]}")
            try:
                self.may_fetch(part.origin, part.commit)
            except SourceNotApproved as waits:
                raise SourceNotApproved(
                    f"The pack {pack.name} does not work without a part from elsewhere: {waits}",
                    waits.source,
                    (pack.name,),
                ) from waits
            if into.exists():
                into.rmdir()
            sources += self._checked_out(pack, part, into, f"{part.folder} of the node pack {pack.name}")
            yield part

    async def _comfyui(self, ask: ComfyAsk) -> tuple[Runtime, list[tuple[str, str]]]:
        """Return a tree of ComfyUI that is shared, and what it is made of."""
        origin, version = ask.origin or OFFICIAL_REPOSITORY, (ask.version or "").removeprefix("v")
        if ask.commit:
            commit = ask.commit
            # Whether it may be used is asked each time, though the tree is there: who asks may be another one.
            self.may_fetch(origin, commit)
            try:
                return await self._shared(origin, commit, lambda part: self._from_git(origin, commit, part))
            except SourceRefused as refused:
                if ask.origin not in (None, OFFICIAL_REPOSITORY) or version not in PACKAGED_RELEASES:
                    raise
                self.reporter.note(f"{refused} Taking the release {version} from the package index instead.")
        plan = plan_source(SourceAsk(version=version), self.reporter)
        if not ask.commit:
            self.may_fetch(plan.origin, version)
        return await self._shared(plan.origin, version, lambda part: self._from_release(version, part))

    async def _shared(self, origin: str, commit: str, make: Any) -> tuple[Runtime, list[tuple[str, str]]]:
        key = hashlib.sha256(f"{origin}\n{commit}".encode()).hexdigest()[:32]
        tree = await self.workshop.trees.build(f"tree-{key}", lambda part: in_thread(lambda: make(part)))
        return tree, [(str(one[0]), str(one[1])) for one in tree.record()["sources"]]

    def _from_git(self, origin: str, commit: str, part: Path) -> Mapping[str, Any]:
        self.reporter.step(f"Fetching ComfyUI at {commit[:10]}")
        checkout = self.workshop.mirrors.checkout(origin, commit, part / COMFYUI)
        if missing := missing_parts(checkout.tree):
            raise SourceRefused(f"{origin} is not a ComfyUI: it lacks {', '.join(missing)}.")
        self._note(checkout)
        self.workshop.compile(checkout.tree, share=False)
        return {"sources": checkout.sources}

    def _from_release(self, version: str, part: Path) -> Mapping[str, Any]:
        plan = plan_source(SourceAsk(version=version), self.reporter)
        staging, fetching = part / "staging", part / "fetching"
        environment = Environment(fetching, self.workshop.indexes, self.workshop.uv)
        environment.make(self.reporter)
        fetched = fetch_source(plan, staging, environment, self.reporter)
        fetched.tree.rename(part / COMFYUI)
        for done in (staging, fetching):
            shutil.rmtree(done)
        self.workshop.compile(part / COMFYUI, share=False)
        return {"sources": [(fetched.origin, fetched.commit or version)]}

    def _note(self, checkout: Checkout) -> None:
        for note in checkout.notes:
            self.reporter.note(note)

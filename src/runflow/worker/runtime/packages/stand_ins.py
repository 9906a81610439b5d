"""Wheels that say what an installed package says about itself and hold nothing else, for the resolver to look at.

The torch of a runtime is installed before anything is resolved, from wherever a build that fits the machine was found.
No index of the operator's need have it. With these, a resolution knows exactly the torch that is there, and downloads
nothing of it.
"""

import zipfile
from collections.abc import Sequence
from importlib.metadata import Distribution
from pathlib import Path

from runflow.worker.runtime.commands import InstallError

_WHEEL = "Wheel-Version: 1.0\nGenerator: runflow\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_stand_ins(site_packages: Path, names: Sequence[str], folder: Path) -> dict[str, str]:
    """Write a stand-in for each of these packages that is installed.

    Return, by `name version`, a constraint that allows nothing else. Raises InstallError where none is installed: any
    torch would be resolved then, and another one would be there.
    """
    constraints = {
        f"{name} {distribution.version}": f"{name} @ {_write(distribution, name, folder).as_uri()}"
        for name in names
        for distribution in list(Distribution.discover(name=name, path=[str(site_packages)]))[:1]
    }
    if not constraints:
        raise InstallError(
            f"{site_packages} has none of {', '.join(names)}. Install torch before packages are resolved."
        )
    return constraints


def _write(distribution: Distribution, name: str, folder: Path) -> Path:
    stem = f"{name}-{distribution.version}"
    files = {"METADATA": distribution.read_text("METADATA") or "", "WHEEL": _WHEEL}
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(f"{stem}.dist-info/{file}", text)
        listed = [f"{stem}.dist-info/{file},," for file in (*files, "RECORD")]
        wheel.writestr(f"{stem}.dist-info/RECORD", "\n".join(listed) + "\n")
    return path

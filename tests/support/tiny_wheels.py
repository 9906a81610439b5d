"""Tiny wheels, so that an installation can be tested without a network in a second."""

import base64
import hashlib
import zipfile
from pathlib import Path


def make_wheel(folder: Path, name: str, version: str, code: str = "", *requires: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}/__init__.py": code,
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {requirement}\n" for requirement in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    record = ""
    with zipfile.ZipFile(path, "w") as wheel:
        for place, text in files.items():
            wheel.writestr(place, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            record += f"{place},sha256={digest},{len(text)}\n"
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return path


TORCH = "class version:\n    cuda = None\n    hip = None\n"


def make_torch(folder: Path, version: str = "2.13.0+cpu", code: str = TORCH) -> None:
    """The three, and what a server needs, as modules that import and do nothing."""
    make_wheel(folder, "torch", version, code)
    make_wheel(folder, "torchvision", "0.28.0", "", f"torch=={version.partition('+')[0]}")
    make_wheel(folder, "torchaudio", "2.11.0")
    for name in ("aiohttp", "transformers", "safetensors", "requests"):
        make_wheel(folder, name, "1.0")

"""The GPU class of a machine: what its operator declares, else by what the engine says about its device."""

import math
import re
import shutil
import subprocess
from dataclasses import replace

from runflow.protocol.workers import CPU, Gpu

_VENDOR = re.compile(
    r"\b(nvidia|geforce|tesla|quadro|amd|radeon|instinct|intel|graphics|laptop gpu|gpu)\b", re.IGNORECASE
)
_VARIANT = re.compile(r"\b(sxm\d*|pcie|nvl|hbm\d*e?|\d+\s?gi?b|generation|oam|ada lovelace)\b", re.IGNORECASE)
_NOT_IN_CODE = re.compile(r"[^A-Z0-9]+")


_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST_GIB = 100_000

NO_GPU = Gpu(code=CPU)


class NoGpuClass(ValueError):
    """A GPU class is declared in a way that cannot be read; the message names the form."""


def declared_gpu(text: str) -> Gpu:
    """Read `CODE` or `CODE:GiB`, as in `--gpu A100-MIG-1G.10GB:10`; memory 0: as detected. Raises `NoGpuClass`.

    Memory is told in whole GiB, so what is more is left out.
    """
    code, colon, memory = text.strip().partition(":")
    if not _CODE.fullmatch(code):
        raise NoGpuClass(
            f"{text!r} is not of the form CODE or CODE:GiB, such as L40S:48. A code has letters, digits, `-`, `_` and "
            "`.`, at most 64."
        )
    if code.upper() == CPU:
        if colon:
            raise NoGpuClass(f"{text!r}: a worker without a GPU has no GPU memory. Give {CPU} alone.")
        return NO_GPU
    if not colon:
        return Gpu(code=code)
    try:
        gib = float(memory)
    except ValueError:
        gib = math.nan
    if not 1 <= gib <= MOST_GIB:
        raise NoGpuClass(f"{text!r}: the memory is a number of GiB, at least 1, such as {code}:24.")
    return Gpu(code=code, memory_gb=math.floor(gib))


def as_declared(declared: Gpu | None, detected: Gpu) -> Gpu:
    """Return the GPU of a worker: what is declared goes before what was detected; without memory, that is detected."""
    if declared is None:
        return detected
    if declared.code == CPU:
        return NO_GPU
    return replace(declared, name=detected.name, memory_gb=declared.memory_gb or detected.memory_gb)


def gpu_from(device_type: str, device_name: str, memory_bytes: int) -> Gpu:
    """Return the GPU of an engine's device: `NVIDIA A100-SXM4-80GB` is an A100, a `GeForce RTX 4090` an RTX4090."""
    if device_type in ("cpu", "unknown"):
        return NO_GPU
    return Gpu(
        code=gpu_code(device_name) or device_type.upper(),
        name=device_name,
        memory_gb=round(memory_bytes / 1024**3),
    )


def gpu_code(name: str) -> str:
    """Return the class that a device's name speaks for: its model, without vendor, form factor and memory size."""
    bare = _VARIANT.sub(" ", _VENDOR.sub(" ", name.replace("-", " ").replace("(R)", " ").replace("(TM)", " ")))
    return _NOT_IN_CODE.sub("", bare.upper())


def detect() -> Gpu:
    """Ask nvidia-smi, for a worker whose engine cannot be asked yet; `NO_GPU` where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return NO_GPU
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout
        name, _, mebibytes = answer.strip().splitlines()[0].rpartition(",")
        return gpu_from("cuda", name.strip(), int(mebibytes) * 1024**2)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return NO_GPU

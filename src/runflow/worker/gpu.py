"""The GPU class of a machine, by what the engine says about its device."""

import re
import shutil
import subprocess

from runflow.protocol.workers import Gpu

CPU = "CPU"

_VENDOR = re.compile(
    r"\b(nvidia|geforce|tesla|quadro|amd|radeon|instinct|intel|graphics|laptop gpu|gpu)\b", re.IGNORECASE
)
_VARIANT = re.compile(r"\b(sxm\d*|pcie|nvl|hbm\d*e?|\d+\s?gi?b|generation|oam|ada lovelace)\b", re.IGNORECASE)
_NOT_IN_CODE = re.compile(r"[^A-Z0-9]+")


NO_GPU = Gpu(code=CPU)


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

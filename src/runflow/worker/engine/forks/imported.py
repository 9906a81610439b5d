"""What a booted engine has imported, told through memory of a fixed size: no path, no wait, no more than fits."""

import contextlib
import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

_MOST_BYTES = 1024 * 1024
_MOST_MODULES = 20_000
_LONGEST_NAME, _LONGEST_VALUE = 200, 1000
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
SETTINGS = (
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_HIP_ALLOC_CONF",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL",
)
"""What a ComfyUI sets for torch before it imports it: torch reads it then, or refuses what it finds later."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The modules out of site-packages, in the order of their import, and the settings that were made for them."""

    modules: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)


class ImportRecord:
    """Memory that an engine writes to once (`serving.py`), and that cannot grow. `close` it after the engine."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("runflow-imported", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.truncate(self.descriptor, _MOST_BYTES)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)

    def read(self) -> Imported:
        """Return what it was told; nothing where that is not there, or is not what an engine of ours would say."""
        try:
            content = os.pread(self.descriptor, _MOST_BYTES, 0)
            told: Any = orjson.loads(content.rstrip(b"\0") or b"{}")
            modules, settings = told["modules"], told["settings"]
            return Imported(believed_modules(modules), believed_settings(settings))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Imported()

    def close(self) -> None:
        """Let go of the memory."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *ended: object) -> None:
        """Let go of the memory."""
        self.close()


def believed_modules(told: Sequence[Any]) -> tuple[str, ...]:
    """Return those that are names of modules, and no more of them than a boot imports."""
    return tuple(
        name
        for name in told[:_MOST_MODULES]
        if isinstance(name, str) and len(name) <= _LONGEST_NAME and _NAME.fullmatch(name)
    )


def believed_settings(told: Mapping[str, Any]) -> dict[str, str]:
    """Return those that are made for torch and that an environment takes."""
    return {
        name: value
        for name in SETTINGS
        if isinstance(value := told.get(name), str) and len(value) <= _LONGEST_VALUE and "\0" not in value
    }

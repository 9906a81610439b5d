"""How an owned engine is started."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class OwnedSettings:
    """How an owned engine is started.

    `python` is the interpreter of ComfyUI's environment; None: the `.venv` or `venv` in its folder. `base_dir` is ours
    alone. `plugin_dir` None: the plugin of this installation; `cpu` None: what the machine has. `memory_limit_bytes`
    None: nine tenths of the machine. `uid`: as root, run the engine as this user id. Times in seconds.
    """

    comfy_dir: Path
    base_dir: Path
    python: Path | None = None
    plugin_dir: Path | None = None
    with_plugin: bool = True
    cpu: bool | None = None
    cache: bool = False
    metadata: bool = False
    api_nodes: bool = False
    extra_arguments: tuple[str, ...] = ()
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    memory_limit_bytes: int | None = None
    uid: int | None = None
    boot_seconds: float = 600.0
    patience: float = 5.0

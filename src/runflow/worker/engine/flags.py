"""The command line of an owned engine. Only flags that this ComfyUI knows: an unknown one would end it at once."""

import shutil
import sys
from pathlib import Path

from runflow.worker.runtime.record import read_record


class Flags:
    """The flags that a ComfyUI folder knows, read from its `comfy/cli_args.py` without running it."""

    def __init__(self, comfy_dir: Path) -> None:
        try:
            self._text = (comfy_dir / "comfy" / "cli_args.py").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            self._text = ""

    def knows(self, flag: str) -> bool:
        """Return whether the flag exists in this version."""
        return f'"{flag}"' in self._text


def engine_arguments(
    comfy_dir: Path, base: Path, port: int, *, cpu: bool, cache: bool, metadata: bool, api_nodes: bool
) -> list[str]:
    """Return the arguments of main.py.

    API nodes are left out unless asked for: they call paid remote services with a key that a run does not carry, and
    loading them takes a tenth of the boot. Caching is off unless asked for: identical prompts would get old file names.
    """
    flags = Flags(comfy_dir)
    wanted = ["--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base)]
    if flags.knows("--preview-method"):
        # What costs least of all that samplers can show: a run's followers see it (docs/api/runs.md, "Following").
        wanted += ["--preview-method", "latent2rgb"]
    if flags.knows("--database-url"):
        wanted += ["--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}"]
    optional = [
        ("--disable-auto-launch", True),
        ("--disable-metadata", not metadata),
        ("--cache-none", not cache),
        ("--disable-api-nodes", not api_nodes),
        ("--cpu", cpu),
    ]
    return [*wanted, *(flag for flag, asked in optional if asked and flags.knows(flag))]


def needs_cpu(comfy_dir: Path) -> bool:
    """Return whether this ComfyUI must be told to use the CPU: a torch without GPU support, or no GPU to be seen."""
    if sys.platform == "darwin":
        return False
    record = read_record(comfy_dir)
    if record is not None and record.torch.endswith("+cpu"):
        return True
    devices = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/dri/renderD128")
    return shutil.which("nvidia-smi") is None and not any(Path(device).exists() for device in devices)

"""ComfyUI's requirements file, as we install it."""

import re
from pathlib import Path

_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_CHOSEN_APART = {"torch", "torchvision", "torchaudio"}
_LARGE_MEDIA = ("comfyui-workflow-templates", "comfyui-embedded-docs")
_FORGOTTEN = "requests"
"""Imported by ComfyUI, but missing from its list before 0.11.0."""


def requirements_of(tree: Path, *, full: bool) -> list[str]:
    """Return what to install for a ComfyUI tree, without torch and its kin.

    Lean (not `full`) leaves out the template media and the embedded docs: hundreds of megabytes that only the editor
    shows. ComfyUI starts without them and logs two lines about it.
    """
    wanted: list[str] = []
    for line in (tree / "requirements.txt").read_text(encoding="utf-8").splitlines():
        requirement = line.partition("#")[0].strip()
        found = _NAME.match(requirement)
        if not found:
            continue
        name = re.sub(r"[._-]+", "-", found.group(1)).lower()
        if name in _CHOSEN_APART or (not full and name.startswith(_LARGE_MEDIA)):
            continue
        wanted.append(requirement)
    if not any(re.match(rf"{_FORGOTTEN}\b", requirement) for requirement in wanted):
        wanted.append(_FORGOTTEN)
    return wanted

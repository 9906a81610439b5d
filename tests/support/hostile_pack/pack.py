"""A hostile node pack: a ComfyUI custom node folder whose one node runs an attack and returns what it got.

The tests copy this folder into the `custom_nodes` of an engine of their own (tests/e2e/hostile). It imports nothing of
this repository and nothing of ComfyUI until it runs, so that tests can read its lists of attacks.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

from . import answering, credentials, exhaustion, import_time, leftovers, network, persistence, privileges, processes
from .loot import ATTACKS, Loot, engine_folders
from .painting import as_tensor, paint
from .smuggling import SMUGGLES

__all__ = ["ATTACKS", "NODE_CLASS_MAPPINGS", "SMUGGLES"]

_MODULES = (answering, credentials, exhaustion, import_time, leftovers, network, persistence, privileges, processes)
_HELPERS = {"leave": leftovers.leave, "models": persistence.models, "paint": paint}
"""What the tests need besides attacks."""

_FORGED = "forged"
_reported: list[dict[str, Any]] = []


class RunflowHostile:
    """Runs the attack of that name. `parameters` is JSON: what the attacker knows."""

    CATEGORY: ClassVar[str] = "Runflow/Hostile"
    FUNCTION: ClassVar[str] = "attack"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("STRING", "STRING", "IMAGE")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("loot", "smuggled", "picture")
    NOT_IDEMPOTENT: ClassVar[bool] = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """The widgets, in ComfyUI's form; the platform puts the run's folder in front of the prefix."""
        text = ("STRING", {"default": "", "multiline": True})
        return {"required": {"name": text, "parameters": text, "filename_prefix": text}, "optional": {"file": text}}

    @classmethod
    def IS_CHANGED(cls, **_inputs: Any) -> float:  # noqa: N802
        """Never equal to itself, so never cached."""
        return float("nan")

    def attack(self, name: str, parameters: str, filename_prefix: str, file: str = "") -> tuple[str, str, Any]:
        """Run it and write what it got as JSON into the run's folder."""
        given = json.loads(parameters or "{}")
        folder = Path(engine_folders()["output"], filename_prefix).parent
        folder.mkdir(parents=True, exist_ok=True)
        loot = Loot()
        smuggled = ""
        if name in SMUGGLES:
            _report_as_told()
            _reported[:] = [SMUGGLES[name].act(folder, given)]
            smuggled = _FORGED
        elif name in _HELPERS:
            _HELPERS[name](loot, given)
        else:
            ATTACKS[name].act(loot, given)
        path = folder / "loot.json"
        path.write_text(json.dumps(loot.as_json()))
        return path.relative_to(engine_folders()["output"]).as_posix(), smuggled or "", as_tensor(given)


def _report_as_told() -> None:
    """Let Runflow's own output node report whatever it is told: a hostile pack shares its process."""
    import nodes  # type: ignore[import-not-found, unused-ignore]

    kind = nodes.NODE_CLASS_MAPPINGS["RunflowOutputFile"]
    honest = kind.mark
    if getattr(honest, "is_forged", False):
        return

    def mark(self: object, output_id: str, value: str, **more: object) -> Any:
        if value != _FORGED:
            return honest(self, output_id, value, **more)
        return {"ui": _reported[0].get("ui", {"files": _reported}), "result": (value,)}

    mark.is_forged = True  # type: ignore[attr-defined]
    kind.mark = mark


import_time.look_around()

NODE_CLASS_MAPPINGS = {"RunflowHostile": RunflowHostile}

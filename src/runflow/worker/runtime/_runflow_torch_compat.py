"""Let torchvision and torchaudio import beside a torch that their compiled extensions were not built for.

Installed into a ComfyUI environment by `runflow comfyui install` only when the plain import fails there: the
extension wheels of the default package index are built for CUDA and cannot load next to a CPU-only torch.

- torchvision goes on without its operators library, but then registers shape functions for two operators that nothing
  declared. Their schemas are declared here as soon as torchvision has noticed that the library is missing.
- torchaudio treats a library that does not load as a broken installation; here it becomes one that was not built.

What stays unavailable: torchvision's box operators (nms, roi_align, ...) and torchaudio's compiled alignment. Stock
ComfyUI uses neither. A `.pth` file imports this module at start; it costs nothing until one of the two is imported.
"""

import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

_BOX_OPERATORS = ("nms", "qnms")
_kept: list[object] = []


def _declare_box_operators(extension: ModuleType) -> None:
    """Declare what torchvision's own library would have declared, had it loaded."""
    if extension._has_ops():
        return
    from torch.library import Library  # type: ignore[import-not-found,unused-ignore]

    library = Library("torchvision", "FRAGMENT")
    for operator in _BOX_OPERATORS:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)  # the declarations vanish when the object is collected


def _tolerate_missing_library(utils: ModuleType) -> None:
    """Make torchaudio's loader answer "not there" for a library that cannot be loaded."""
    load = utils._load_lib

    def load_or_do_without(name: str) -> bool:
        try:
            return bool(load(name))
        except (ImportError, OSError):
            return False

    utils.__dict__["_load_lib"] = load_or_do_without


_AFTER_IMPORT: dict[str, Callable[[ModuleType], None]] = {
    "torchvision.extension": _declare_box_operators,
    "torchaudio._extension.utils": _tolerate_missing_library,
}


class _AfterImport:
    """A finder that finds nothing itself: it adds one call after the two modules above have run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        patch = _AFTER_IMPORT.get(name)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_patch(module: ModuleType) -> None:
            run(module)
            patch(module)

        spec.loader.exec_module = run_and_patch  # type: ignore[method-assign,unused-ignore]
        return spec


sys.meta_path.insert(0, _AfterImport())  # type: ignore[arg-type,unused-ignore]

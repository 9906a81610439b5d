"""A ComfyUI for the tests of Auto setup: classes and folders as ComfyUI describes them, without ComfyUI."""

from pathlib import Path

from tests.support.catalogue import FakeCatalogue

KINDS = ("checkpoints", "loras", "text_encoders", "diffusion_models", "upscale_models", "custom_nodes", "datasets")


class SmallMachine(FakeCatalogue):
    def __init__(self, root: Path) -> None:
        kinds = {kind: [root / "models" / kind] for kind in KINDS}
        kinds["diffusion_models"].insert(0, root / "models/unet")
        kinds["custom_nodes"] = [root / "custom_nodes"]
        super().__init__(root, {"KSampler": (False, "nodes", {})}, kinds)
        self.custom_nodes[0].mkdir(parents=True)
        self.models_root.mkdir()

    def everything(self) -> set[str]:
        """Every file below it, by relative path."""
        root = self.models_root.parent
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}

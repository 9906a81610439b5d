"""A ComfyUI for the tests of the manifest: classes and model folders as ComfyUI describes them, without ComfyUI."""

from pathlib import Path
from typing import Any


class FakeCatalogue:
    """Classes by name as `(is_output, module, fields)`, model folders as `kind → folders`."""

    def __init__(self, root: Path, classes: dict[str, Any], kinds: dict[str, list[Path]] | None = None) -> None:
        self.models_root = root / "models"
        self.custom_nodes: tuple[Path, ...] = (root / "custom_nodes",)
        self.classes = classes
        self.kinds = kinds or {}

    def is_output(self, class_type: str) -> bool:
        return bool(self.classes[class_type][0]) if class_type in self.classes else False

    def has(self, class_type: str) -> bool:
        return class_type in self.classes

    def module(self, class_type: str) -> str:
        return str(self.classes[class_type][1]) if class_type in self.classes else ""

    def field(self, class_type: str, name: str) -> Any:
        return self.classes[class_type][2].get(name) if class_type in self.classes else None

    def model_kinds(self) -> list[str]:
        return list(self.kinds)

    def model_folders(self, kind: str) -> list[Path]:
        return self.kinds[kind]

    def model_names(self, kind: str) -> list[str]:
        found = (
            path.relative_to(folder) for folder in self.kinds[kind] for path in folder.rglob("*") if path.is_file()
        )
        return [path.as_posix() for path in found]

    def model_path(self, kind: str, name: str) -> Path | None:
        places = (folder / name for folder in self.kinds[kind]) if kind in self.kinds else ()
        return next((place for place in places if place.is_file()), None)


def write(path: Path, content: str | bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path

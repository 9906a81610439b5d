"""Files that libraries keep in caches of their own: of Hugging Face's hub, and of torch hub.

What stands in a manifest is a stranger's. Both sides hold its names to one rule, since the worker makes paths of them.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

MOST_CACHED_FILES = 2_000
"""Of a version that names more files of caches only so many are restored."""
MOST_REFS = 16
LONGEST_PATH = 500
_LONGEST_PART = 200

Cache = Literal["huggingface", "torch"]
RepositoryType = Literal["model", "dataset", "space"]
REPOSITORY_TYPES: tuple[RepositoryType, ...] = ("model", "dataset", "space")

_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,95})?")
_REVISION = re.compile(r"[0-9a-f]{40}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}){0,3}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedCachedFile:
    """A file of a library's cache that the version needs. Only an owned engine's worker restores it.

    It is sent only to a worker that tells `fetches_addresses`.
    """

    cache: Cache
    path: str = field(
        metadata={
            "description": "In the snapshot of a Hugging Face repository, or the name of a torch hub checkpoint.",
            "examples": ["text_encoder/model.safetensors"],
        }
    )
    sha256: str
    size_bytes: int | None = None
    repository: str = field(
        default="",
        metadata={"description": "At Hugging Face; empty for torch hub.", "examples": ["org/name"]},
    )
    repository_type: RepositoryType = "model"
    revision: str = field(default="", metadata={"description": "The repository's commit; empty for torch hub."})
    refs: list[str] = field(
        default_factory=list, metadata={"description": "The branches that stand for this commit, such as `main`."}
    )
    url: str | None = field(
        default=None,
        metadata={
            "description": "Where it is fetched; null: from the hub that the worker's operator names, by repository, "
            "revision and path."
        },
    )
    is_upload: bool = field(
        default=False, metadata={"description": "The URL is the server's own, as with `LeasedModel`."}
    )

    @property
    def title(self) -> str:
        """What it is called in sentences."""
        return f"{self.repository}/{self.path}" if self.repository else f"torch/hub/checkpoints/{self.path}"


def fault_of(file: LeasedCachedFile) -> str | None:
    """Return why a file cannot be restored, as the rest of a sentence that begins with its name; None: it can."""
    if not _SHA256.fullmatch(file.sha256):
        return "has no SHA-256"
    if not _is_path(file.path):
        return "has a path that no file of a cache has"
    if file.cache == "torch":
        return None if "/" not in file.path else "lies in a folder, where torch hub keeps no checkpoints"
    if not _REPOSITORY.fullmatch(file.repository) or {"..", "--"} & _pairs(file.repository):
        return "belongs to a repository whose name Hugging Face does not allow"
    if not _REVISION.fullmatch(file.revision):
        return "names no commit of its repository"
    if len(file.refs) > MOST_REFS or not all(is_ref(one) for one in file.refs):
        return "names a branch that cannot be one"
    return None


def is_ref(name: str) -> bool:
    """Tell whether a text can be the name of a branch or tag."""
    return _REF.fullmatch(name) is not None and ".." not in name


def _is_path(path: str) -> bool:
    if len(path) > LONGEST_PATH or not path.isprintable() or "\\" in path or ":" in path:
        return False
    parts = path.split("/")
    return all(part not in ("", ".", "..") and len(part.encode()) <= _LONGEST_PART for part in parts)


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)}

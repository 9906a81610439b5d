"""Which of a version's models are large, so that an engine that has them loaded is worth staying with: pure.

A file is large from 200 MB on. Its size is what the manifest says, or what an upload of the same content has. Where
nobody tells it, the kind decides, which is the folder below ComfyUI's `models/`: diffusion models, text encoders and
the like are large, LoRAs, embeddings and upscalers are not. A LoRA must not count as one because each combination of
LoRAs would then be a thing of its own. Where a version declares no models at all, the names in its prompt count.
Files of the caches of Hugging Face and torch hub count by their size alone: of what kind they are nothing tells.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runflow.protocol.cached_files import LeasedCachedFile

LARGE_BYTES = 200_000_000

LARGE_KINDS = frozenset(
    "checkpoints diffusion_models unet unet_gguf clip text_encoders clip_gguf vae controlnet clip_vision diffusers "
    "style_models LLM llm".split()
)

UNKNOWN_BYTES = 4_000_000_000
"""What a large model of unknown size is taken for."""

MEMORY_SHARE = 1.2
"""So many times their size large models are expected to need of a GPU's memory, for what computing with them takes."""

GIB = 2**30

BYTES_PER_SECOND = 500_000_000
"""How fast an engine loads models, until a lane has learned better: an ordinary SSD, and the way into the GPU."""

MOST_LOAD_SECONDS = 600.0

MOST_GB = 100_000
"""More than any GPU has."""

PREFIX = "lm1-"
"""Names this rule. A changed rule gets another prefix, so that old and new keys never meet."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MODEL = re.compile(r".\.(safetensors|sft|ckpt|pt|pth|gguf|onnx|bin)$", re.IGNORECASE)
_SMALL_FIELD = re.compile(r"lora|embedding|upscale", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LargeModels:
    """The large models of a version: one key for all of them, empty where there are none, and how many bytes.

    `told_bytes`: the same without those whose size nobody tells.
    """

    key: str
    size_bytes: int
    told_bytes: int = 0

    @property
    def load_seconds(self) -> float:
        """How long loading them is expected to take before anybody has seen it."""
        return min(self.size_bytes / BYTES_PER_SECOND, MOST_LOAD_SECONDS)

    @property
    def memory_gb(self) -> int:
        """How many GiB of a GPU they are expected to need. A guessed size keeps nobody from a GPU."""
        return min(math.ceil(self.told_bytes * MEMORY_SHARE / GIB), MOST_GB)


def large_models(
    models: Any, prompt: Any, uploaded: Mapping[str, int], cached: Iterable[LeasedCachedFile] = ()
) -> LargeModels:
    """Find the large models of a version; `models` and `prompt` are its documents, in whatever shape callers send.

    `uploaded` has the sizes of contents by their SHA-256, `cached` what the version takes from libraries' caches.
    """
    found: dict[str, int] = {}
    guessed: set[str] = set()
    declared = list(_declared(models))
    for path, entry in declared:
        sha256 = entry.get("sha256")
        sha256 = sha256.lower() if isinstance(sha256, str) else None
        size = entry.get("size_bytes")
        if not isinstance(size, int) or isinstance(size, bool):
            size = uploaded.get(sha256) if sha256 is not None else None
        if size is None and not _is_large_kind(path, entry):
            continue
        if size is None or size >= LARGE_BYTES:
            found[sha256 or path] = UNKNOWN_BYTES if size is None else size
            if size is None:
                guessed.add(sha256 or path)
    if not declared:
        found = dict.fromkeys(_named(prompt), UNKNOWN_BYTES)
        guessed = set(found)
    for file in cached:
        size = uploaded.get(file.sha256, 0) if file.size_bytes is None else file.size_bytes
        if size >= LARGE_BYTES:
            found[file.sha256] = size
            guessed.discard(file.sha256)
    if not found:
        return LargeModels("", 0)
    digest = hashlib.sha256("\n".join(sorted(found)).encode(errors="replace")).hexdigest()
    told = sum(size for name, size in found.items() if name not in guessed)
    return LargeModels(PREFIX + digest[:32], sum(found.values()), told)


def hashes_without_size(models: Any) -> set[str]:
    """Return the contents of which only an upload can tell the size; what cannot be a SHA-256 is none."""
    return {
        sha256
        for _, entry in _declared(models)
        if isinstance(entry.get("sha256"), str)
        and not isinstance(entry.get("size_bytes"), int)
        and _SHA256.fullmatch(sha256 := entry["sha256"].lower())
    }


def _declared(models: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    rows: Iterable[tuple[Any, Any]] = models.items() if isinstance(models, Mapping) else ()
    if isinstance(models, list):
        rows = [(row.get("path") or row.get("name"), row) for row in models if isinstance(row, Mapping)]
    for path, entry in rows:
        if isinstance(path, str) and path:
            yield path, entry if isinstance(entry, Mapping) else {}


def _is_large_kind(path: str, entry: Mapping[str, Any]) -> bool:
    kind = entry.get("directory")
    if not isinstance(kind, str) or not kind:
        kind = path.replace("\\", "/").partition("/")[0]
    return kind.replace("\\", "/").partition("/")[0] in LARGE_KINDS


def _named(prompt: Any) -> Iterator[str]:
    """Yield the model files that a prompt names, but for those whose field says that they are small."""
    for node in prompt.values() if isinstance(prompt, Mapping) else ():
        inputs = node.get("inputs") if isinstance(node, Mapping) else None
        for name, value in inputs.items() if isinstance(inputs, Mapping) else ():
            if isinstance(value, str) and _MODEL.search(value) and not _SMALL_FIELD.search(str(name)):
                yield value

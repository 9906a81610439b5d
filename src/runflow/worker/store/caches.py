"""Files of the caches of Hugging Face and torch hub: fetched and given like models, and found where libraries look.

An engine is given each content in its folder of models, to which it cannot write. Its home, where libraries keep their
caches and write to them, gets links there: two versions of a repository lie side by side, as they do anywhere.
"""

from collections.abc import Collection
from pathlib import PurePosixPath
from urllib.parse import quote

from runflow.protocol.cached_files import LeasedCachedFile
from runflow.worker.attempts.lease import Model
from runflow.worker.engine.home_files import HomeFiles

HUGGINGFACE = "https://huggingface.co"
GIVEN = ".cached"
"""The folder of these contents below an engine's models: none of ComfyUI's kinds."""
_HUB = "home/.cache/huggingface/hub"
_CHECKPOINTS = "home/.cache/torch/hub/checkpoints"
_ROUTES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
_LONGEST_SUFFIX = 16


def as_model(file: LeasedCachedFile, endpoint: str) -> Model:
    """Return a file as a model whose path is its content's; `endpoint`: of Hugging Face's hub, or of another like it.

    Its names are expected to be usable (`fault_of`).
    """
    url = file.url
    if url is None and file.cache == "huggingface":
        place = f"{_ROUTES[file.repository_type]}{file.repository}/resolve/{file.revision}/{quote(file.path)}"
        url = f"{endpoint.rstrip('/')}/{place}"
    return Model(_place(file), url, file.size_bytes, file.sha256, is_upload=file.is_upload, title=file.title)


def home_files(files: Collection[LeasedCachedFile]) -> HomeFiles:
    """Return how these files are found in an engine's home.

    A snapshot's name leads to a blob, and that to the content: so Hugging Face's library finds a file that another
    commit has, too, and does not fetch it again.
    """
    found = HomeFiles()
    for file in files:
        content = f"models/{_place(file)}"
        if file.cache == "torch":
            found.links[f"{_CHECKPOINTS}/{file.path}"] = content
            continue
        repository = f"{_HUB}/{file.repository_type}s--{file.repository.replace('/', '--')}"
        blob = f"{repository}/blobs/{file.sha256}"
        found.links[blob] = content
        found.links[f"{repository}/snapshots/{file.revision}/{file.path}"] = blob
        for ref in file.refs:
            found.texts.setdefault(f"{repository}/refs/{ref}", file.revision)
    return found


def names(files: HomeFiles) -> dict[str, str]:
    """Return what an engine's home says under which name: two versions that differ in one cannot share an engine.

    No part of a name is what a prompt may call a model.
    """
    return {path.replace("/", ":"): what for path, what in (*files.links.items(), *files.texts.items())}


def _place(file: LeasedCachedFile) -> str:
    suffix = PurePosixPath(file.path).suffix.lower()
    is_plain = suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= _LONGEST_SUFFIX
    return f"{GIVEN}/{file.sha256}{suffix if is_plain else ''}"

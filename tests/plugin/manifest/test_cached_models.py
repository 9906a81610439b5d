"""What the manifest tells of the caches of Hugging Face and torch hub: what was used, and nothing else of them."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from plugin.manifest import cached_models as module
from plugin.manifest.cached_models import (
    CachedModels,
    CacheFolders,
    Use,
    cache_folders,
    cached_models,
    never_ran,
    use_of,
)
from plugin.manifest.model_sources import ModelSource
from tests.support.catalogue import FakeCatalogue, write

OLD, NEW = "a" * 40, "b" * 40
REPOSITORY = "models--org--name"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Caches:
    """Caches as the libraries lay them out."""

    folders: CacheFolders
    hashed: list[str] = field(default_factory=list)
    """The files that had to be read."""

    def put(self, path: str, content: bytes, revision: str = OLD, repository: str = REPOSITORY) -> Path:
        """Have a file in a snapshot: large ones are blobs by their SHA-256, small ones by git's hash."""
        folder = self.folders.hub / repository
        is_large = path.endswith(".safetensors")
        blob = folder / "blobs" / (sha256(content) if is_large else hashlib.sha1(content).hexdigest())
        write(blob, content)
        place = folder / "snapshots" / revision / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(blob)
        return place

    def ref(self, name: str, revision: str) -> None:
        write(self.folders.hub / REPOSITORY / "refs" / name, revision)

    def read(self, *uses: Use, **more: Any) -> CachedModels:
        def hash_of(place: Path) -> str:
            self.hashed.append(place.name)
            return sha256(place.read_bytes())

        return cached_models(self.folders, uses, hash_of, **more)


@pytest.fixture
def caches(tmp_path: Path) -> Caches:
    return Caches(CacheFolders(tmp_path / "hf/hub", tmp_path / "torch/hub"))


def hub_use(part: str = "") -> Use:
    return Use("huggingface", REPOSITORY, part)


def torch_use(name: str) -> Use:
    return Use("torch", "checkpoints", name)


def test_a_repository_is_told_by_its_commit_with_each_file(caches: Caches) -> None:
    caches.put("config.json", b"{}")
    caches.put("unet/model.safetensors", b"weights")
    caches.ref("main", OLD)
    caches.put("other.json", b"{}", repository="models--org--not-used")
    found = caches.read(hub_use("refs/main"))
    assert found.entries == {
        "huggingface": [
            {
                "repo": "org/name",
                "type": "model",
                "revision": OLD,
                "refs": ["main"],
                "files": [
                    {"path": "config.json", "size_bytes": 2, "sha256": sha256(b"{}")},
                    {"path": "unet/model.safetensors", "size_bytes": 7, "sha256": sha256(b"weights")},
                ],
            }
        ],
        "pytorch": [],
    }
    assert caches.hashed == ["config.json"], "what is named by its SHA-256 is not read"
    assert found.summary() == [{"name": "org/name", "files": 2, "size_bytes": 9}]


def test_the_commits_that_were_used_are_told_each_with_its_branches(caches: Caches) -> None:
    caches.put("x", b"old")
    caches.put("x", b"new", NEW)
    caches.put("x", b"neither", "c" * 40)
    for name, revision in (("main", NEW), ("fp16", NEW), ("refs/pr/1", OLD)):
        caches.ref(name, revision)
    found = caches.read(hub_use(f"snapshots/{OLD}"), hub_use("refs/main"), hub_use(f"snapshots/{NEW}"))
    told = [(entry["revision"], entry["refs"]) for entry in found.entries["huggingface"]]
    assert told == [(OLD, ["refs/pr/1"]), (NEW, ["fp16", "main"])]


def test_where_only_a_blob_was_opened_it_is_what_main_stands_for(caches: Caches) -> None:
    caches.put("x", b"old")
    caches.put("x", b"new", NEW)
    caches.ref("main", NEW)
    (entry,) = caches.read(hub_use()).entries["huggingface"]
    assert entry["revision"] == NEW


def test_what_is_gone_or_was_never_whole_is_not_told(caches: Caches) -> None:
    (caches.folders.hub / "models--org--empty/snapshots" / OLD).mkdir(parents=True)
    dangling = caches.put("x.json", b"gone")
    dangling.resolve().unlink()
    write(caches.folders.torch / "checkpoints/half.pth.1a2b.partial")
    uses = (Use("huggingface", "models--org--empty"), hub_use(f"snapshots/{OLD}"), torch_use("half.pth.1a2b.partial"))
    found = caches.read(*uses, torch_use("gone.pth"), Use("torch", "gone_gone_gone"))
    assert (found.entries, found.warnings) == ({"huggingface": [], "pytorch": []}, ())


def test_checkpoints_are_told_with_the_address_that_anybody_knows(caches: Caches) -> None:
    for name in ("declared.pth", "fetched-01234567.pth", "mine.pth", "other.pth"):
        write(caches.folders.torch / "checkpoints" / name, name)
    write(caches.folders.torch / "pytorch_vision_v0.10.0/hubconf.py")
    sources = [
        ModelSource("sub/declared.pth", "", "https://host/declared.pth", sha256(b"declared.pth")),
        ModelSource("mine.pth", "", "https://host/other", "0" * 64),
    ]
    uses = [torch_use(name) for name in ("declared.pth", "fetched-01234567.pth", "mine.pth")]
    addresses = {"fetched-01234567.pth": "https://host/fetched-01234567.pth"}
    found = caches.read(*uses, Use("torch", "pytorch_vision_v0.10.0"), sources=sources, addresses=addresses)
    declared, fetched, mine, code = found.entries["pytorch"]
    assert declared == {
        "name": "declared.pth",
        "type": "checkpoint",
        "revision": None,
        "size_bytes": 12,
        "sha256": sha256(b"declared.pth"),
        "url": "https://host/declared.pth",
    }
    assert (fetched["revision"], fetched["url"]) == ("01234567", addresses["fetched-01234567.pth"])
    assert "url" not in mine, "what is declared under that name is another file"
    assert code == {
        "name": "pytorch/vision",
        "type": "repository",
        "revision": "v0.10.0",
        "folder": "pytorch_vision_v0.10.0",
    }
    (local,) = found.without_address
    assert (local.name, local.size_bytes, local.sha256) == ("torch/hub/checkpoints/mine.pth", 8, sha256(b"mine.pth"))


def test_a_file_that_cannot_be_read_is_named_and_the_rest_told(caches: Caches) -> None:
    caches.put("a.json", b"1")
    caches.put("b.safetensors", b"2")

    def refuse(_: Path) -> str:
        raise PermissionError(13, "Permission denied")

    found = cached_models(caches.folders, [hub_use(f"snapshots/{OLD}")], refuse)
    assert [file["path"] for file in found.entries["huggingface"][0]["files"]] == ["b.safetensors"]
    (warning,) = found.warnings
    assert '"org/name/a.json"' in warning and "Permission denied" in warning


def test_more_files_than_the_server_takes_are_said_once(caches: Caches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 2)
    for number in range(5):
        caches.put(f"{number}.json", str(number).encode())
    found = caches.read(hub_use(f"snapshots/{OLD}"))
    assert len(found.entries["huggingface"][0]["files"]) == 2
    assert len(found.warnings) == 1 and "more than 2 files" in found.warnings[0]


@pytest.mark.parametrize(
    ("path", "use"),
    [
        (f"/hub/{REPOSITORY}/refs/main", hub_use("refs/main")),
        (f"/hub/{REPOSITORY}/refs/fp16.81557b18.tmp", hub_use("refs/fp16")),
        (f"/hub/{REPOSITORY}/refs/refs/pr/1", hub_use("refs/refs/pr/1")),
        (f"/hub/{REPOSITORY}/snapshots/{OLD}/unet/x.json", hub_use(f"snapshots/{OLD}")),
        (f"/hub/{REPOSITORY}/blobs/abc", hub_use()),
        (f"/hub/.locks/{REPOSITORY}/abc.lock", hub_use()),
        (f"/hub\\{REPOSITORY}\\refs\\main", hub_use("refs/main")),
        ("/hub/version.txt", None),
        ("/hub/.locks", None),
        ("/torch/checkpoints/net.pth", torch_use("net.pth")),
        ("/torch/pytorch_vision_main/hubconf.py", Use("torch", "pytorch_vision_main")),
        ("/torch/trusted_list", None),
        ("/elsewhere/x", None),
    ],
)
def test_a_path_says_which_part_of_a_cache_it_is(path: str, use: Use | None) -> None:
    assert use_of(path, [("huggingface", "/hub"), ("torch", "/torch")]) == use


def test_the_folders_are_those_that_the_libraries_take_from_the_environment() -> None:
    assert cache_folders({"XDG_CACHE_HOME": "/c"}) == CacheFolders(Path("/c/huggingface/hub"), Path("/c/torch/hub"))
    environment = {"HF_HOME": "/hf", "TORCH_HOME": "/t"}
    assert cache_folders(environment) == CacheFolders(Path("/hf/hub"), Path("/t/hub"))
    assert cache_folders({**environment, "HF_HUB_CACHE": "/own"}).hub == Path("/own")


@dataclass
class Uses:
    """What is known of nodes that have run."""

    folders: CacheFolders
    prompts: list[Any]
    addresses: dict[str, str] = field(default_factory=dict)

    def of(self, classes: Collection[str]) -> set[Use]:
        raise NotImplementedError

    def succeeded(self) -> Iterable[Mapping[str, Any]]:
        return self.prompts


def test_only_custom_nodes_that_have_run_are_known(caches: Caches, tmp_path: Path) -> None:
    classes: dict[str, Any] = {
        "Load": (False, "custom_nodes.pack", {}),
        "Save": (True, "custom_nodes.pack", {}),
        "RunflowOutputImage": (True, "custom_nodes.ComfyUI-Runflow", {}),
        "KSampler": (False, "nodes", {}),
    }
    catalogue = FakeCatalogue(tmp_path, classes)
    load = {"class_type": "Load", "inputs": {}}
    whole = {"1": load, "2": {"class_type": "Save", "inputs": {"value": ["1", 0]}}}
    unwired = {"1": load, "2": {"class_type": "Save", "inputs": {}}}

    def left(*prompts: Any) -> list[str]:
        return never_ran(set(classes), Uses(caches.folders, list(prompts)), catalogue)

    assert left() == [], "there is nothing that they could load"
    caches.put("x", b"x")
    assert left() == ["Load", "Save"]
    assert left({"1": "no prompt"}, unwired) == ["Load"], "what leads to no output is not executed"
    assert left(unwired, whole) == []

"""What a manifest says of the caches of libraries: read leniently, and kept within bounds."""

from typing import Any

import pytest

from runflow.models.cached import cached_models
from runflow.protocol.cached_files import MOST_CACHED_FILES, LeasedCachedFile

COMMIT, SHA = "c" * 40, "a" * 64


def of(*entries: Any, pytorch: Any = ()) -> dict[str, Any]:
    return {"cached_models": {"huggingface": list(entries), "pytorch": list(pytorch)}}


def repository(*files: Any, **more: Any) -> dict[str, Any]:
    return {"repo": "org/name", "type": "model", "revision": COMMIT, "files": list(files), **more}


def test_files_are_told_with_their_repository_and_commit() -> None:
    rows = ({"path": "a/b.json", "size_bytes": 3, "sha256": SHA.upper()}, {"path": "c", "sha256": SHA})
    found = cached_models(of(repository(*rows, refs=["main", "fp16", "../x", 7])))
    first, second = found.files
    assert first == LeasedCachedFile(
        cache="huggingface",
        path="a/b.json",
        sha256=SHA,
        size_bytes=3,
        repository="org/name",
        revision=COMMIT,
        refs=["main", "fp16"],
    )
    assert (second.path, second.size_bytes, found.without_files) == ("c", None, ())


def test_a_snapshot_is_main_unless_it_says_otherwise() -> None:
    row = {"path": "a", "sha256": SHA}
    told: list[dict[str, Any]] = [{}, {"refs": []}, {"refs": 5}]
    assert [cached_models(of(repository(row, **more))).files[0].refs for more in told] == [["main"], [], []]


def test_checkpoints_and_code_of_torch_hub() -> None:
    rows = (
        {"name": "net-01234567.pth", "type": "checkpoint", "sha256": SHA, "url": "https://host/net.pth"},
        {"name": "lost.pth", "sha256": SHA, "url": "file:///etc/passwd"},
        {"name": "pytorch/vision", "type": "repository", "revision": "main"},
    )
    found = cached_models(of(pytorch=rows))
    assert [(file.path, file.url) for file in found.files] == [
        ("net-01234567.pth", "https://host/net.pth"),
        ("lost.pth", None),
    ]
    assert (found.without_files, found.repositories) == ((), ("pytorch/vision",))


@pytest.mark.parametrize("environment", [None, [], "x", {}, {"cached_models": 5}, {"cached_models": {"pytorch": {}}}])
def test_what_cannot_be_understood_asks_for_nothing(environment: Any) -> None:
    assert cached_models(environment) == cached_models({})


def test_the_original_clients_names_are_known_and_cannot_be_restored() -> None:
    found = cached_models(
        of("org/name", {"repo": "org/old", "type": "model", "revision": COMMIT}, 5, pytorch=["a.pth"])
    )
    assert (found.files, found.without_files) == ((), ("org/name", "org/old", "5", "a.pth"))


@pytest.mark.parametrize(
    "changes",
    [
        {"repo": "../name"},
        {"repo": "a/b/c"},
        {"repo": "org/a--b"},
        {"repo": "org/a..b"},
        {"revision": "main"},
        {"revision": COMMIT.upper()},
        {"type": "other"},
        {"type": []},
        {"files": [{"path": "../x", "sha256": SHA}]},
        {"files": [{"path": "/x", "sha256": SHA}]},
        {"files": [{"path": "x/./y", "sha256": SHA}]},
        {"files": [{"path": "x\0", "sha256": SHA}]},
        {"files": [{"path": "C:x", "sha256": SHA}]},
        {"files": [{"path": "x\\y", "sha256": SHA}]},
        {"files": [{"path": "x" * 201, "sha256": SHA}]},
        {"files": [{"path": "x/" * 250 + "x", "sha256": SHA}]},
        {"files": [{"path": "x", "sha256": "short"}]},
        {"files": [{"path": "x"}]},
        {"files": ["x"]},
        {"files": {"x": SHA}},
    ],
)
def test_names_that_could_lead_elsewhere_are_left_out_and_told(changes: dict[str, Any]) -> None:
    found = cached_models(of({**repository({"path": "fine", "sha256": SHA}), **changes}))
    assert (found.files, len(found.without_files)) == ((), 1)


def test_one_file_that_cannot_be_used_is_told_and_the_others_stay() -> None:
    found = cached_models(of(repository({"path": "fine", "sha256": SHA}, {"path": "lost"})))
    assert ([file.path for file in found.files], found.without_files) == (["fine"], ("org/name",))


def test_of_one_place_the_first_counts_and_there_is_a_most() -> None:
    rows = [{"path": f"f{number}", "sha256": SHA} for number in range(MOST_CACHED_FILES - 1)]
    found = cached_models(of(repository(*rows), repository({"path": "f0", "sha256": "b" * 64})))
    assert (len(found.files), found.files[0].sha256, found.without_files) == (MOST_CACHED_FILES - 1, SHA, ())
    more = [{"path": f"g{number}", "sha256": SHA} for number in range(3)]
    found = cached_models(of(repository(*rows), repository(*more, repo="org/more")))
    assert (len(found.files), found.without_files) == (MOST_CACHED_FILES, ("org/more",))

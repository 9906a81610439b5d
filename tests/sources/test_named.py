"""Which sources documents name: the same as a worker reads in them, each by origin and commit."""

from typing import Any

import pytest

from runflow.protocol.named_packs import MOST_CLASSES, MOST_PACKS, OFFICIAL_REPOSITORY
from runflow.protocol.origins import canonical
from runflow.sources.named import NamedSource, SourceKind, named_sources
from runflow.worker.runtime.build.manifest import ManifestRefused, read_manifest

A, B = "a" * 40, "b" * 40
CORE = {"comfyui": {"origin": "https://host/comfy/ComfyUI.git", "commit": A, "version": "0.30.0"}}
PACK = {"origin": "https://Host/me/pack.git", "commit": B.upper(), "classes": ["Grow", "Grow", 3]}
COMFYUI = NamedSource(SourceKind.COMFYUI, "ComfyUI", "https://host/comfy/ComfyUI", A)
MINE = NamedSource(SourceKind.NODE_PACK, "pack", "https://host/me/pack", B, frozenset({"Grow"}))


@pytest.mark.parametrize("shape", [{"pack": PACK}, [{"name": "pack", **PACK}], [{"directory": "pack", **PACK}]])
def test_comfyui_and_packs_are_named_in_every_shape(shape: Any) -> None:
    assert named_sources(CORE, shape) == (COMFYUI, MINE)


def test_a_commit_alone_means_the_official_comfyui() -> None:
    (found,) = named_sources({"comfyui": {"commit": A}}, None)
    assert found.key == (OFFICIAL_REPOSITORY, A)


@pytest.mark.parametrize("environment", [None, 3, [], {}, {"comfyui": "0.30.0"}, {"comfyui": {"version": "0.30.0"}}])
def test_a_comfyui_without_a_commit_is_no_source(environment: Any) -> None:
    assert named_sources(environment, {}) == ()


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("ComfyUI-Runflow", {"origin": "https://host/x", "commit": B}),
        ("renamed", {"plugin": True, "origin": "https://host/x", "commit": B}),
        ("fork", {"origin": "https://github.com/runflow-io/ComfyUI-Runflow", "commit": B}),
        ("websocket_image_save", {"commit": B}),
        ("pack", {"commit": B}),
        ("pack", {"origin": "https://host/x"}),
        ("pack", {"origin": "https://host/x", "commit": "main"}),
        ("pack", {"origin": "https://host/x", "commit": B[:12]}),
        ("pack", {"origin": "https://me:secret@host/x", "commit": B}),
        ("pack", {"origin": "https://host/../x", "commit": B}),
        ("pack", {"origin": "https://h\u043est/x", "commit": B}),
        ("pack", {"origin": 3, "commit": 4}),
        ("pack", "text"),
        ("pack", None),
    ],
)
def test_what_is_brought_along_or_cannot_be_had_is_left_out(name: str, row: Any) -> None:
    assert named_sources(CORE, {name: row, "pack2": PACK}) == (
        COMFYUI,
        NamedSource(SourceKind.NODE_PACK, "pack2", *MINE.key, MINE.classes),
    )
    as_array = [{"name": name, **row}] if isinstance(row, dict) else [row, 3]
    assert named_sources(CORE, as_array) == (COMFYUI,)


def test_the_same_commit_elsewhere_is_another_source() -> None:
    ours, forks = ({"pack": {**PACK, "origin": f"https://host/{who}/pack"}} for who in ("me", "you"))
    assert {one.key for one in named_sources(None, ours)}.isdisjoint(one.key for one in named_sources(None, forks))


@pytest.mark.parametrize("wrap", [dict, lambda rows: [{"name": name, **row} for name, row in rows.items()]])
@pytest.mark.parametrize("key", ["origin", "url", "repo"])
def test_a_worker_reads_the_same_in_them(wrap: Any, key: str) -> None:
    rows: dict[str, Any] = {
        f"pack{n}": {key: f" https://HOST/me/Pack{n}.git/ ", "commit": f"{n:040x}".upper()} for n in range(9)
    }
    rows |= {"ComfyUI-Runflow": {}, "own": {"plugin": True}}
    asked = read_manifest(CORE, wrap(rows), None, allowed_prefixes=["HTTPS://", "https://HOST"])
    read = {(canonical(pack.origin), pack.commit) for pack in asked.packs}
    assert {one.key for one in named_sources(CORE, wrap(rows))[1:]} == read
    assert len(read) == 9


def test_no_more_is_named_than_a_worker_takes() -> None:
    rows = {f"pack{n}": {"origin": f"https://host/{n}", "commit": B} for n in range(MOST_PACKS + 50)}
    assert len(named_sources(None, rows)) == MOST_PACKS
    with pytest.raises(ManifestRefused):
        read_manifest(CORE, rows, None)
    (found,) = named_sources(None, {"pack": {**PACK, "classes": [str(n) for n in range(MOST_CLASSES + 9)]}})
    assert len(found.classes) == MOST_CLASSES


@pytest.mark.parametrize(
    ("name", "shown"), [("a\nb\0c\u202e", "a\ufffdb\ufffdc\ufffd"), ("x" * 999, "x" * 200), ("", "(no name)")]
)
def test_a_name_of_strangers_can_be_shown(name: str, shown: str) -> None:
    (found,) = named_sources(None, {name: PACK})
    assert found.name == shown

"""What a version asks for, from documents in every shape that callers send, and what is refused of it."""

import re
from typing import Any

import pytest

from runflow.protocol.named_packs import MOST_PACKS
from runflow.worker.runtime.build.manifest import (
    MOST_PACKAGES,
    ComfyAsk,
    ManifestRefused,
    PackAsk,
    RuntimeAsk,
    read_manifest,
)

A, B = "a" * 40, "b" * 40
ENVIRONMENT = {"comfyui": {"origin": "https://host/comfy/ComfyUI", "commit": A, "version": "0.30.0"}}
PROMPT = {"1": {"class_type": "KSampler"}, "2": {"class_type": "Grow"}, "3": {"class_type": "KSampler"}}
PACK = {"origin": "https://host/me/pack.git", "commit": B, "classes": ["Grow"]}


def read(custom_nodes: Any = None, environment: Any = ENVIRONMENT, *allowed: str) -> RuntimeAsk:
    return read_manifest(environment, custom_nodes, PROMPT, allowed_prefixes=allowed)


def refusal(custom_nodes: Any = None, environment: Any = ENVIRONMENT) -> str:
    with pytest.raises(ManifestRefused) as refused:
        read(custom_nodes, environment)
    return str(refused.value)


def with_packages(packages: Any) -> dict[str, Any]:
    return {**ENVIRONMENT, "packages": packages}


@pytest.mark.parametrize("shape", [{"pack": PACK}, [{"name": "pack", **PACK}], [{"directory": "pack", **PACK}]])
def test_packs_are_read_as_objects_and_as_arrays(shape: Any) -> None:
    found = read(shape)
    assert found.packs == (PackAsk("pack", "https://host/me/pack", B, ("Grow",)),)
    assert found.comfyui == ComfyAsk("https://host/comfy/ComfyUI", A, "0.30.0")
    assert found.node_types == ("Grow", "KSampler")
    assert found.notes == ()


@pytest.mark.parametrize(
    "shape",
    [
        {"NumPy": "2.1", "my_pack.age": "1"},
        [{"name": "NumPy", "version": "2.1"}, {"name": "my_pack.age", "version": "1"}],
        ["NumPy==2.1", "my_pack.age == 1"],
    ],
)
def test_packages_are_read_as_objects_and_as_arrays(shape: Any) -> None:
    assert read(environment=with_packages(shape)).packages == {"numpy": "2.1", "my-pack-age": "1"}


def test_packages_that_mean_nothing_here_are_left_out_and_named() -> None:
    rows = [
        {"name": "no name", "version": "1"},
        {"name": "odd", "version": "from-source"},
        {"name": "mine", "version": "1", "origin": "https://host/mine", "commit": A},
        {"name": "twice", "version": "1"},
        {"name": "Twice", "version": "2"},
    ]
    found = read(environment=with_packages(rows))
    assert found.packages == {"twice": "1"}
    assert [word for word in ("no name", "odd", "mine", "twice") if word not in " ".join(found.notes)] == []
    assert len(found.notes) == 4


def test_a_changed_checkout_is_noted() -> None:
    assert "pack differs from its commit" in read({"pack": {**PACK, "dirty": True}}).notes[0]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("ComfyUI-Runflow", {"origin": None, "commit": None}),
        ("comfyui-runflow", {}),
        ("renamed", {"plugin": True, "origin": "/somewhere"}),
        ("fork", {"origin": "https://github.com/runflow-io/ComfyUI-Runflow.git", "commit": A}),
        ("websocket_image_save", {"origin": None, "commit": None, "dirty": None}),
    ],
)
def test_what_every_worker_has_is_no_pack(name: str, row: dict[str, Any]) -> None:
    assert read({name: row}).packs == ()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"origin": None, "commit": B}, "without origin"),
        ({"origin": "https://host/x"}, "without commit"),
        ({}, "without origin and commit"),
        ("text", "without origin and commit"),
        ({"origin": "https://host/x", "commit": "main"}, "no full commit id"),
        ({"origin": "https://host/x", "commit": B[:10]}, "no full commit id"),
        ({"origin": "https://host/x", "commit": B + "\n; rm"}, "no full commit id"),
        ({"origin": "https://host/ltdrdata/ComfyUI-Manager", "commit": B}, "it is an installer"),
    ],
)
def test_a_pack_that_cannot_be_fetched_is_refused_by_name(row: Any, words: str) -> None:
    said = refusal({"my pack": row})
    assert "my pack" in said
    assert words in said


@pytest.mark.parametrize("name", ["ComfyUI-Manager", "comfyui_manager", "ComfyUI-Manager-fork"])
def test_the_manager_is_refused_by_its_name(name: str) -> None:
    assert "it is an installer" in refusal({name: {"origin": "https://host/x", "commit": B}})


@pytest.mark.parametrize(
    "origin",
    [
        "http://host/x",
        "file:///srv/x",
        "ssh://git@host/x",
        "git://host/x",
        "ext::sh -c date",
        "ext::sh",
        "/srv/x",
        "../x",
        "-uhost",
        "--upload-pack=x",
        "https://user:secret@host/x",
        "https://token@host/x",
        "https:///x",
        "https://-oProxyCommand=x/y",
        "https://host/a/../../x",
        "https://host/%2e%2e/x",
        "https://host/x y",
        "https://host/x\n",
        "https://host/" + "x" * 600,
        "https://[host/x",
    ],
)
def test_origins_that_are_no_public_address_are_refused(origin: str) -> None:
    said = refusal({"pack": {"origin": origin.strip("\n") + ("\x07" if "\n" in origin else ""), "commit": B}})
    assert said.startswith("The node pack pack comes from ")
    comfyui = {"comfyui": {"origin": "ext::x", "commit": A}}
    assert "ComfyUI's origin" in refusal(environment=comfyui)


@pytest.mark.parametrize(
    ("origin", "allowed", "is_taken"),
    [
        ("ssh://git@host/x", "ssh://git@", True),
        ("ssh://root@host/x", "ssh://", False),
        ("ssh://git:pw@host/x", "ssh://git", False),
        ("http://mirror/x", "http://mirror/", True),
        ("http://other/x", "http://mirror/", False),
        ("file:///srv/git/x", "file:///srv/git/", True),
        ("file:///srv/git/../../etc", "file:///srv/git/", False),
    ],
)
def test_other_addresses_are_taken_where_the_caller_allows_them(origin: str, allowed: str, is_taken: bool) -> None:
    pack = {"pack": {"origin": origin, "commit": B}}
    if is_taken:
        assert read(pack, ENVIRONMENT, allowed).packs[0].origin == origin
    else:
        with pytest.raises(ManifestRefused, match=re.escape(origin)):
            read(pack, ENVIRONMENT, allowed)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".git", "a/b", "a\\b", "../x", "-x", "x.disabled", "x ", "a\nb", "x" * 300, "__pycache__", None],
)
def test_a_name_that_is_no_folder_is_refused(name: Any) -> None:
    assert "no plain folder name" in refusal([{"name": name, **PACK}])


def test_a_pack_that_is_named_twice_is_refused() -> None:
    assert "twice" in refusal([{"name": "Pack", **PACK}, {"name": "pack", **PACK}])


def test_manifests_have_bounds() -> None:
    assert str(MOST_PACKS) in refusal({f"pack{n}": PACK for n in range(MOST_PACKS + 1)})
    assert str(MOST_PACKAGES) in refusal(environment=with_packages({f"p{n}": "1" for n in range(MOST_PACKAGES + 1)}))
    assert "characters" in refusal(environment=with_packages({"p": "1" * 300}))
    assert "characters" in refusal({"pack": {**PACK, "classes": ["x" * 300]}})


@pytest.mark.parametrize("environment", [None, {}, [], {"comfyui": "0.30"}, {"comfyui": {"commit": "abc"}}])
def test_an_environment_that_names_no_comfyui_is_refused(environment: Any) -> None:
    assert "ComfyUI" in refusal(environment=environment)


def test_a_release_needs_no_commit() -> None:
    assert read(environment={"comfyui": {"version": "0.30.0"}}).comfyui == ComfyAsk(None, None, "0.30.0")

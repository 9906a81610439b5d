"""The lists that a worker registers are named by their content, the same on both sides."""

import orjson
from pydantic import TypeAdapter

from runflow.protocol.abilities import AbilityLists, ModelFile, NodePack, list_hash
from runflow.protocol.codec import to_wire

LISTS = AbilityLists(
    node_types=["KSampler", "Späti"],
    node_packs=[NodePack(folder="pack", origin="https://example.com/pack", commit="a" * 40), NodePack(folder="one.py")],
    models=[ModelFile(path="loras/ä.safetensors", size_bytes=5, sha256="0" * 64), ModelFile(path="vae/b.pt")],
)


def test_the_server_finds_the_hash_that_the_worker_sent() -> None:
    read = TypeAdapter(AbilityLists).validate_python(orjson.loads(to_wire(LISTS)))
    assert LISTS.models is not None
    assert LISTS.node_packs is not None
    for sent, got in ((LISTS.node_packs, read.node_packs), (LISTS.models, read.models)):
        assert got is not None
        assert list_hash(sent) == list_hash(got)
    assert list_hash(LISTS.node_types or []) == list_hash(read.node_types or [])


def test_another_item_or_order_is_another_list() -> None:
    assert len({list_hash(["a", "b"]), list_hash(["b", "a"]), list_hash(["ab"]), list_hash([])}) == 4

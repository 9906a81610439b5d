"""What differs between what a version needs and what an engine has, in sentences with a code and a next step."""

from dataclasses import replace
from uuid import UUID

import pytest

from runflow.ids import new_id
from runflow.protocol.abilities import ModelFile, NodePack, Sandbox
from runflow.workers.abilities import EngineAbilities, ModelIndex
from runflow.workflows.runtime.requirements import NeededModel, NeededPack, Requirements
from runflow.workflows.runtime.satisfies import (
    Difference,
    keeps_files_together,
    lacks_gpu,
    lacks_labels,
    satisfies,
    sentences,
)

ORG: UUID = new_id()
SHA, OTHER = "a" * 64, "b" * 64


def needs(
    *node_types: str,
    models: tuple[NeededModel, ...] = (),
    packs: tuple[NeededPack, ...] = (),
    version: str | None = None,
    commit: str | None = None,
) -> Requirements:
    return Requirements(ORG, node_types, models, packs, version, commit)


def has(*node_types: str, models: tuple[ModelFile, ...] = (), **more: object) -> EngineAbilities:
    values = {"node_types": frozenset(node_types), "models": ModelIndex(models), "node_packs": (), **more}
    return EngineAbilities("key", **values)  # type: ignore[arg-type]


def codes(found: list[Difference]) -> list[tuple[str, bool]]:
    return [(one.code.value, one.keeps_away) for one in found]


def test_who_has_it_all_differs_in_nothing() -> None:
    assert satisfies(needs("A", "B"), has("A", "B", "C")) == []


def test_a_worker_that_told_nothing_is_not_judged_and_one_that_is_not_done_telling_waits() -> None:
    assert satisfies(needs("A"), None) == []
    assert satisfies(needs("A"), EngineAbilities("key")) == [], "of lists that it cannot tell nothing is missing"
    assert codes(satisfies(needs("A"), EngineAbilities("key", complete=False))) == [("ABILITIES_INCOMPLETE", True)]


def test_classes_are_named_with_the_pack_that_has_them() -> None:
    pack = NeededPack("Impact", "https://example.com/impact", "0123456789abcdef", frozenset({"X", "Y"}))
    first, second = satisfies(needs("A", "X", "Y", "Z", packs=(pack,)), has("A"))
    assert first.what == "lacks the node classes X and Y (pack Impact at commit 0123456789)"
    assert "https://example.com/impact" in first.next_step and "restart" in first.next_step
    assert second.what == "lacks the node class Z"
    assert codes([first, second]) == [("NODE_TYPE_MISSING", True)] * 2


def test_many_names_are_counted() -> None:
    (found,) = satisfies(needs(*"ABCDEFG"), has())
    assert found.what == "lacks the node classes A, B, C, D and 3 more"


@pytest.mark.parametrize(
    ("declared", "there"),
    [
        ("checkpoints/a.safetensors", "checkpoints/a.safetensors"),
        ("unet/a.safetensors", "diffusion_models/a.safetensors"),
        ("text_encoders/a.safetensors", "clip/a.safetensors"),
        ("SDXL\\a.safetensors", "checkpoints/SDXL/a.safetensors"),
        ("a.safetensors", "loras/deep/a.safetensors"),
    ],
)
def test_a_model_is_found_by_its_path_as_comfyui_would(declared: str, there: str) -> None:
    assert satisfies(needs(models=(NeededModel(declared),)), has(models=(ModelFile(path=there),))) == []


def test_another_file_of_that_name_is_another_model_where_both_hashes_are_known() -> None:
    wanted = needs(models=(NeededModel("vae/a.pt", SHA),))
    assert satisfies(wanted, has(models=(ModelFile(path="vae/a.pt"),))) == []
    assert satisfies(wanted, has(models=(ModelFile(path="vae/a.pt", sha256=SHA),))) == []
    (found,) = satisfies(wanted, has(models=(ModelFile(path="vae/a.pt", sha256=OTHER),)), [SHA])
    assert found.code == "MODEL_DIFFERS" and found.keeps_away


def test_a_model_that_the_organization_has_uploaded_is_fetched_where_that_is_allowed() -> None:
    wanted = needs(models=(NeededModel("vae/a.safetensors", SHA),))
    (found,) = satisfies(wanted, has(places_models=True))
    assert (found.code, found.if_uploaded) == ("MODEL_MISSING", SHA) and "upload it" in found.next_step
    assert satisfies(wanted, has(places_models=True), [SHA]) == []
    (attached,) = satisfies(wanted, has(), [SHA])
    assert attached.if_uploaded is None
    pickled = needs(models=(NeededModel("vae/a.ckpt", SHA),))
    (refused,) = satisfies(pickled, has(places_models=True), [SHA])
    assert refused.if_uploaded is None and "RUNFLOW_WORKER_ALLOW_PICKLE" in refused.next_step
    assert satisfies(pickled, has(places_models=True, allows_pickle=True), [SHA]) == []
    (unnamed,) = satisfies(needs(models=(NeededModel("vae/a.safetensors"),)), has(places_models=True))
    assert unnamed.if_uploaded is None, "without a hash nobody knows which upload is meant"


def test_a_model_that_has_an_address_is_fetched_by_who_can() -> None:
    wanted = needs(models=(NeededModel("vae/a.safetensors", SHA, has_address=True),))
    assert satisfies(wanted, has(places_models=True, fetches_addresses=True)) == []
    assert satisfies(needs(models=(NeededModel("vae/a.safetensors", None, True),)), has(fetches_addresses=True)) == []
    (older,) = satisfies(wanted, has(places_models=True))
    assert (older.code, older.if_uploaded) == ("MODEL_MISSING", SHA)
    pickled = needs(models=(NeededModel("vae/a.ckpt", SHA, has_address=True),))
    (refused,) = satisfies(pickled, has(places_models=True, fetches_addresses=True))
    assert "RUNFLOW_WORKER_ALLOW_PICKLE" in refused.next_step


def test_who_fetches_caches_and_no_code_cannot_have_what_may_hold_code() -> None:
    wanted = replace(needs(), cached_pickles=("org/name/model.bin",))
    (refused,) = satisfies(wanted, has(fetches_addresses=True))
    assert (refused.code, refused.keeps_away, refused.if_uploaded) == ("MODEL_MISSING", True, None)
    assert "org/name/model.bin" in refused.what and "RUNFLOW_WORKER_ALLOW_PICKLE" in refused.next_step
    assert satisfies(wanted, has(fetches_addresses=True, allows_pickle=True)) == []
    assert satisfies(wanted, has()) == [], "who fetches nothing from addresses is not asked to"


def test_who_gives_engines_what_a_version_declares_replaces_another_file_of_that_name() -> None:
    other = (ModelFile(path="vae/a.safetensors", sha256=OTHER),)
    able = {"places_models": True, "fetches_addresses": True}
    named = needs(models=(NeededModel("vae/a.safetensors", SHA),))
    (lacking,) = satisfies(named, has(models=other, **able))
    assert (lacking.code, lacking.if_uploaded) == ("MODEL_DIFFERS", SHA)
    assert satisfies(named, has(models=other, **able), [SHA]) == []
    assert satisfies(needs(models=(NeededModel("vae/a.safetensors", SHA, True),)), has(models=other, **able)) == []
    elsewhere = (*other, ModelFile(path="vae/same.safetensors", sha256=SHA))
    assert satisfies(named, has(models=elsewhere, **able)) == []
    assert satisfies(named, has(models=elsewhere)) != []


def test_other_versions_are_told_and_not_held_against_a_worker() -> None:
    pack = NeededPack("Impact", "https://example.com/impact.git", "1" * 40)
    wanted = needs(packs=(pack,), version="0.30.0", commit="2" * 40)
    same = has(comfyui_version="0.31.0", comfyui_commit="2" * 40)
    assert satisfies(wanted, same) == [], "the commit says more than the version"
    other = has(comfyui_version="0.31.0", node_packs=(NodePack(folder="impact", commit="3" * 40),))
    assert codes(satisfies(wanted, other)) == [("COMFYUI_DIFFERS", False), ("NODE_PACK_DIFFERS", False)]
    renamed = NodePack(folder="my-impact", origin="https://Example.com/impact", commit="3" * 40)
    assert codes(satisfies(needs(packs=(pack,)), has(node_packs=(renamed,)))) == [("NODE_PACK_DIFFERS", False)]
    copied = has(node_packs=(NodePack(folder="Impact"),))
    assert satisfies(needs(packs=(pack,)), copied) == [], "a copy has no commit to compare"


def test_labels_and_gpu_classes() -> None:
    assert lacks_labels(None, {}) == lacks_labels({"rack": "3"}, {"rack": "3", "x": "y"}) == []
    (found,) = lacks_labels({"rack": "3", "site": "b"}, {"rack": "4"})
    assert found.what == "lacks the labels rack=3 and site=b" and "--label rack=3 --label site=b" in found.next_step
    assert lacks_gpu("auto", "CPU") == lacks_gpu("L40S,A100", "A100") == []
    assert lacks_gpu("L40S,A100", "CPU")[0].what == "has the GPU class CPU, not L40S or A100"


@pytest.mark.parametrize(
    ("separates", "isolation", "several", "is_operator", "kept"),
    [
        (False, "organization", True, False, True),
        (False, "run", True, False, True),
        (False, "worker", True, False, False),
        (True, "organization", True, False, False),
        (False, "organization", False, False, False),
        (False, "organization", True, True, False),
    ],
)
def test_what_does_not_keep_files_apart_serves_the_operator_s_organization(
    separates: bool, isolation: str, several: bool, is_operator: bool, kept: bool
) -> None:
    sandbox = Sandbox(rung="uid", separates_files=separates, isolation=isolation, why_not_better="No user namespaces.")
    found = keeps_files_together(sandbox, several, is_operator=is_operator)
    assert [one.code for one in found] == (["FILES_NOT_SEPARATED"] if kept else [])
    assert keeps_files_together(None, several, is_operator=is_operator) == []
    if kept:
        assert "RUNFLOW_ISOLATION=worker" in found[0].next_step and "No user namespaces" in found[0].what


def test_workers_are_named_and_the_nearest_says_what_to_do() -> None:
    one = satisfies(needs("A", "B", models=(NeededModel("vae/a.pt"),)), has("A"))
    two = satisfies(needs("A"), has())
    what, step = sentences([("box-1", one), ("box-2", two), ("box-3", [])]) or ("", "")
    assert what == 'box-1 lacks the node class B and lacks the model "vae/a.pt"; box-2 lacks the node class A'
    assert step == two[0].next_step
    assert sentences([("box-3", [])]) is None
    many, _ = sentences([(f"box-{number}", two) for number in range(9)]) or ("", "")
    assert many.count("lacks") == 3 and "6 more workers" in many

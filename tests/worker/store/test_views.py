"""Whose runs share an engine, by the models that they are given."""

from collections.abc import Iterable
from typing import Any

from runflow.worker.store.views import MOST_VIEWS, ModelViews

A, B = "a" * 64, "b" * 64
PATH = "checkpoints/x.safetensors"


def loads(name: str) -> dict[str, Any]:
    return {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}}}


def of(views: ModelViews, domain: str, given: dict[str, str], there: Iterable[str], prompt: Any, **values: Any) -> str:
    return views.domain_of(domain, given, there, prompt, values)


def test_versions_that_agree_share_the_domains_engine() -> None:
    views = ModelViews()
    assert of(views, "org", {}, (), {}) == "org"
    assert of(views, "org", {PATH: A}, (), loads("x.safetensors")) == "org"
    assert of(views, "org", {"loras/y.safetensors": B}, (), {}) == "org"
    assert of(views, "org", {PATH: A, "loras/y.safetensors": B}, (), {}) == "org"


def test_one_path_with_two_contents_is_two_engines_which_alternate() -> None:
    views = ModelViews()
    seen = [of(views, "org", {PATH: content}, (), {}) for content in (A, B, A, B)]
    assert seen[0] == seen[2] == "org"
    assert seen[1] == seen[3] != "org"
    assert of(views, "other", {PATH: B}, (), {}) == "other", "of another domain nothing is known here"


def test_what_an_engine_has_of_its_own_does_not_share_a_path_with_what_one_is_given() -> None:
    views = ModelViews()
    assert of(views, "org", {}, [PATH], {}) == "org"
    assert of(views, "org", {PATH: A}, (), {}) != "org"


def test_a_file_that_a_prompt_names_and_its_version_does_not_declare_is_never_anothers() -> None:
    views = ModelViews()
    assert of(views, "org", {PATH: A}, (), loads("x.safetensors")) == "org"
    assert of(views, "org", {}, (), loads("x.safetensors")) != "org"
    assert of(views, "org", {}, (), {}, model="x.safetensors") != "org", "nor may a caller name it"
    assert of(views, "org", {}, (), loads("z.safetensors")) == "org"
    assert of(views, "org", {"loras/deep\\z.safetensors": B}, (), {}) != "org"


def test_names_are_found_wherever_they_stand() -> None:
    views = ModelViews()
    nested = {"1": {"class_type": "Power Lora", "inputs": {"lora_1": {"on": True, "lora": ["x.safetensors"]}}}}
    assert of(views, "org", {PATH: A}, (), {}) == "org"
    assert of(views, "org", {}, (), nested) != "org"


def test_what_is_not_a_prompt_is_read_like_one() -> None:
    odd: Any = {"1": None, "2": {"inputs": 3}, "3": {"inputs": {"x": ["1", 0], "y": "x" * 5_000 + ".safetensors"}}}
    assert of(ModelViews(), "org", {PATH: A}, (), odd) == "org"
    assert of(ModelViews(), "org", {PATH: A}, (), []) == "org"


def test_views_are_bounded_and_never_named_twice() -> None:
    views = ModelViews()
    seen = [of(views, "org", {PATH: f"{number:064d}"}, (), {}) for number in range(3 * MOST_VIEWS)]
    assert len(set(seen)) == len(seen)
    assert of(views, "org", {PATH: f"{0:064d}"}, (), {}) not in seen

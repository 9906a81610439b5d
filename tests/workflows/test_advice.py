"""Warnings about models, GPUs and unknown fields."""

from runflow.graph import GraphWarning
from runflow.workflows.advice import MAX_WARNINGS, about_fields, about_gpus, about_models, about_version, answered


def test_models_that_nobody_can_fetch() -> None:
    models = {"a": {"url": "u"}, "b": {"sha256": "0"}, "c": {}, "d": {"url": None, "sha256": ""}, "e": "text"}
    assert [warning.message.split('"')[1] for warning in about_models(models)] == ["c", "d"]
    rows = [{"path": "p"}, {"name": "n", "url": "u"}, {}, "text"]
    assert [warning.message.split('"')[1] for warning in about_models(rows)] == ["p", "2"]
    assert list(about_models(None)) == []


def test_unknown_fields_get_the_nearest_name() -> None:
    (typo, strange) = about_fields({"is_pubic": 1, "id": 2, "zzzzzz": 3}, ["is_public", "name"])
    assert "is_public" in typo.next_step
    assert "Leave it out" in strange.next_step


def test_a_version_is_the_servers() -> None:
    assert (
        list(about_version(None, "1")) == list(about_version("2", "2", "3")) == list(about_version("3", "2", "3")) == []
    )
    (warning,) = about_version("2.0-beta", "1", "2")
    assert "2.0-beta" in warning.message


def test_gpus() -> None:
    assert list(about_gpus("explicit", ["L4"], ["CPU", "L4"])) == []
    assert list(about_gpus("auto", [], ["L4"])) == []
    unknown, unused = about_gpus("auto", ["RTX"], ["CPU", "L4"])
    assert "RTX" in unknown.message
    assert "explicit" in unused.next_step


def test_each_warning_once_and_not_too_many() -> None:
    one = GraphWarning("1", "m", "n")
    assert answered([one, one]) == [{"node_id": "1", "message": "m", "next_step": "n"}]
    many = answered(GraphWarning(str(number), "m", "n") for number in range(MAX_WARNINGS + 7))
    assert len(many) == MAX_WARNINGS + 1
    assert "7 more" in str(many[-1]["message"])

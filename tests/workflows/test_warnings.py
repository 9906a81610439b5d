"""Warnings about models, GPUs and unknown fields."""

import difflib
from typing import Any

import pytest

from runflow.graph import GraphWarning
from runflow.workflows.schemas import PatchWorkflow
from runflow.workflows.warnings import (
    MAX_WARNINGS,
    about_environment,
    about_evaluation,
    about_fields,
    about_gpus,
    about_models,
    about_version,
    answered,
)


def test_models_that_nobody_can_fetch() -> None:
    models = {"a": {"url": "u"}, "b": {"sha256": "0"}, "c": {}, "d": {"url": None, "sha256": ""}, "e": "text"}
    told = [(warning.message.split('"')[1], "address" in warning.message) for warning in about_models(models)]
    assert told == [("a", True), ("c", False), ("d", False)]
    rows = [{"path": "p"}, {"name": "n", "url": "u", "sha256": "0"}, {}, "text"]
    assert [warning.message.split('"')[1] for warning in about_models(rows)] == ["p", "2"]
    assert list(about_models(None)) == []


def test_code_that_nobody_else_can_install() -> None:
    clean = {"origin": "https://host/x", "commit": "a" * 40, "dirty": False}
    environment = {"comfyui": {**clean, "commit": None}, "packages": []}
    nodes: dict[str, dict[str, Any]] = {
        "Fine": clean,
        "Dirty": {**clean, "dirty": True},
        "Loose": {},
        "ComfyUI-Runflow": {"dirty": True},
    }
    core, dirty, loose = about_environment(environment, nodes)
    assert ("ComfyUI" in core.message, '"Dirty"' in dirty.message, '"Loose"' in loose.message) == (True, True, True)
    assert "local changes" in dirty.message
    as_rows = [{**node, "name": name} for name, node in nodes.items()]
    assert len(list(about_environment(None, as_rows))) == 2
    assert list(about_environment({"comfyui": None}, None)) == list(about_environment("x", 5)) == []


def test_evaluations_that_never_happen() -> None:
    workflow = {"auto_evaluate": True, "evaluation_task_type": "headshot", "outputs": []}
    assert list(about_evaluation(workflow)) == []
    assert list(about_evaluation({**workflow, "outputs": [{"variable_type_code": "image"}]})) == []
    (no_image,) = about_evaluation({**workflow, "outputs": [{"variable_type_code": "file"}]})
    assert "no output" in no_image.message
    (off,) = about_evaluation({**workflow, "auto_evaluate": False})
    assert "no effect" in off.message


def test_unknown_fields_get_the_nearest_name() -> None:
    sent = {"is_pubic": 1, "id": 2, "zzzzzz": 3, "inputs": [{"name": "a", "origin": "node", "defalt_value": 1}]}
    (typo, strange, nested) = about_fields(PatchWorkflow.model_validate(sent))
    assert "is_public" in typo.next_step
    assert "Leave it out" in strange.next_step
    assert '"inputs.0.defalt_value"' in nested.message and "default_value" in nested.next_step


def test_no_nearest_name_is_sought_for_what_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    sought: list[str] = []

    def seek(name: str, *_: object, **__: object) -> list[str]:
        sought.append(name)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", seek)
    assert len(list(about_fields(PatchWorkflow.model_validate({f"x{at}": 1 for at in range(1000)})))) == 1000
    assert len(sought) == MAX_WARNINGS


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
    (misspelt,) = about_gpus("explicit", ["l40s"], ["CPU", "L40S"])
    assert '"L40S"' in misspelt.next_step


def test_each_warning_once_and_not_too_many() -> None:
    one = GraphWarning("1", "m", "n")
    assert answered([one, one]) == [{"node_id": "1", "message": "m", "next_step": "n"}]
    many = answered(GraphWarning(str(number), "m", "n") for number in range(MAX_WARNINGS + 7))
    assert len(many) == MAX_WARNINGS + 1
    assert "7 more" in str(many[-1]["message"])

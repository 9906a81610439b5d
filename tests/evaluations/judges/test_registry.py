"""Which judges there are, and what a plug-in must offer."""

import importlib
from pathlib import Path

import pytest

from runflow.evaluations.judges import Judge, Subject, Verdict
from runflow.evaluations.judges.registry import InvalidJudge, all_judges, built_in, is_gate, with_plugins
from tests.support.judge_plugins import install_plugin


class Brightness:
    name = "brightness"
    category = "taste"
    description = "The image is bright."
    weight = 1.0

    def judge(self, subject: Subject) -> Verdict | None:
        return Verdict(True, 1.0, "It is.")


def test_built_in_judges_keep_the_interface_and_have_names_of_their_own() -> None:
    judges = built_in()
    assert all(isinstance(judge, Judge) and judge.weight > 0 and judge.description.endswith(".") for judge in judges)
    assert len({judge.name for judge in judges}) == len(judges)
    assert [judge.name for judge in judges if is_gate(judge)] == ["broken_output"]


def test_a_plug_in_joins_and_a_bad_one_is_named() -> None:
    assert with_plugins(built_in(), [("mine:Brightness", Brightness())])[-1].name == "brightness"
    double, weightless, endless = Brightness(), Brightness(), Brightness()
    double.name = "blur"
    weightless.weight = 0
    endless.weight = float("inf")
    for bad in (object(), double, weightless, endless):
        with pytest.raises(InvalidJudge, match="mine:Bad"):
            with_plugins(built_in(), [("mine:Bad", bad)])


def test_judges_of_installed_packages_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_plugin(tmp_path, {"calm": "return Verdict(True, 1.0, 'It is.')"})
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    all_judges.cache_clear()
    try:
        assert [judge.name for judge in all_judges()] == [*(judge.name for judge in built_in()), "calm"]
    finally:
        all_judges.cache_clear()

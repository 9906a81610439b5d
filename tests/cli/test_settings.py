import re
from pathlib import Path

import pytest
import typer

from runflow.cli.settings import load_settings, misspelt

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RUNFLOW_LEASE_SECONDS", "soon", "integer"),
        ("RUNFLOW_PUBLIC_URL", "runflow.example.com", "https://HOST"),
        ("RUNFLOW_PUBLIC_URL", "https://", "https://HOST"),
        ("RUNFLOW_COMFYUI_URL", "localhost:8188", "http://HOST:PORT"),
        ("RUNFLOW_DATABASE_URL", "mysql://me:hidden@db/runflow", "postgresql://"),
        ("RUNFLOW_LOG_FORMAT", "xml", "'json'"),
        ("RUNFLOW_APPROVED_SOURCES", "https://host/a@" + "a" * 40 + ", https://host/b", "names no commit"),
        ("RUNFLOW_APPROVED_SOURCES", "https://host/b@main", "all 40 digits"),
        ("RUNFLOW_APPROVED_SOURCES", "https://host/b@" + "a" * 39, "'https://host/b@aaa"),
        ("RUNFLOW_APPROVED_SOURCES", "https://me:hidden@host/b@" + "a" * 40, "without a user"),
        ("RUNFLOW_APPROVED_SOURCES", "https://me:hidden@host/b", "names no commit"),
        ("RUNFLOW_APPROVED_SOURCES", "https://host/../b@" + "a" * 40, "address of a repository"),
        ("RUNFLOW_STORAGE_ENDPOINT", "http://minio:9000", "needs RUNFLOW_STORAGE_URL"),
    ],
)
def test_a_bad_setting_ends_the_command_and_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(typer.Exit) as ended:
        load_settings()
    message = " ".join(capsys.readouterr().err.split())
    assert ended.value.exit_code == 1
    assert name in message
    assert said in message
    assert message.endswith(("this environment variable.", "these environment variables."))
    assert "hidden" not in message
    assert "Value error" not in message


@pytest.mark.parametrize("value", ["postgres://db/runflow", "postgresql+psycopg://me@db/runflow"])
def test_every_spelling_of_a_postgresql_address_is_taken(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RUNFLOW_DATABASE_URL", value)
    found = load_settings().database_url
    assert found is not None
    assert found.get_secret_value() == value


def test_a_misspelt_setting_is_named_with_the_one_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNFLOW_PUBLIC_ULR", "https://runflow.example.com")
    load_settings()
    said = " ".join(capsys.readouterr().err.split())
    assert said == "RUNFLOW_PUBLIC_ULR is no setting and has no effect. Is RUNFLOW_PUBLIC_URL meant?"


def test_no_variable_of_this_repository_is_taken_for_a_misspelt_setting() -> None:
    names = {"RUNFLOW_HOME"}
    for folder, kind in [("src", "*.py"), ("plugin", "*.py"), ("docs", "*.md"), ("scripts", "*")]:
        for file in (ROOT / folder).rglob(kind):
            if file.is_file() and "__pycache__" not in file.parts:
                names.update(re.findall(r"RUNFLOW_[A-Z0-9_]*[A-Z0-9]", file.read_text(errors="replace")))
    assert len(names) > 40
    assert misspelt(names) == []

import pytest
import typer

from runflow.cli.settings import load_settings


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RUNFLOW_LEASE_SECONDS", "soon", "integer"),
        ("RUNFLOW_PUBLIC_URL", "runflow.example.com", "https://HOST"),
        ("RUNFLOW_PUBLIC_URL", "https://", "https://HOST"),
        ("RUNFLOW_COMFYUI_URL", "localhost:8188", "http://HOST:PORT"),
        ("RUNFLOW_DATABASE_URL", "mysql://me:hidden@db/runflow", "postgresql://"),
        ("RUNFLOW_LOG_FORMAT", "xml", "'json'"),
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

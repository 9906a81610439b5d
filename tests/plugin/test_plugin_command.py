from pathlib import Path

from typer.testing import CliRunner

from runflow.cli import app


def test_installing_says_where_and_what_next(tmp_path: Path) -> None:
    (tmp_path / "custom_nodes").mkdir()
    result = CliRunner().invoke(app, ["plugin", "install", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "custom_nodes" / "ComfyUI-Runflow" / "__init__.py").is_file()
    assert "Restart ComfyUI" in result.stderr


def test_a_wrong_folder_ends_with_the_reason(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["plugin", "install", str(tmp_path), "--link"])
    assert result.exit_code == 1
    assert "is not a ComfyUI" in " ".join(result.stderr.split())

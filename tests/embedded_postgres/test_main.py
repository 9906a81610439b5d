import subprocess
import sys
from pathlib import Path

from runflow.embedded_postgres import EmbeddedPostgres


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runflow.embedded_postgres", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_psql_runs_against_a_server_that_runs(shared: EmbeddedPostgres) -> None:
    done = _run(str(shared.home), "psql", "-XAtc", "SELECT current_user")
    assert (done.returncode, done.stdout) == (0, "runflow_owner\n")
    assert shared.alive()


def test_psql_runs_against_a_server_of_its_own_and_passes_its_exit_code_on(made_home: Path) -> None:
    done = _run(str(made_home), "psql", "-XAtc", "SELECT 6 * 7")
    assert (done.returncode, done.stdout) == (0, "42\n")
    assert _run(str(made_home), "psql", "-XAtc", "SELECT oops").returncode == 1
    assert not (made_home / "postgres.json").exists()


def test_a_wrong_call_says_how(tmp_path: Path) -> None:
    done = _run()
    assert done.returncode == 2
    assert "HOME PROGRAM" in done.stderr
    done = _run(str(tmp_path), "pg_nothing")
    assert done.returncode == 1
    assert "no program named 'pg_nothing'" in done.stderr

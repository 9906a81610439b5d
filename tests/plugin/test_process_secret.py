"""Where the secret of our own requests comes from."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import os
from plugin import process_secret
print(process_secret.headers()["X-Runflow-Internal"], "RUNFLOW_ENGINE_SECRET" in os.environ)
"""


def secret(**environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_worker_hands_it_over_and_it_leaves_the_environment() -> None:
    assert secret(RUNFLOW_ENGINE_SECRET="from-the-worker") == ["from-the-worker", "False"]


def test_otherwise_it_is_new_in_each_process() -> None:
    first, second = secret(), secret(RUNFLOW_ENGINE_SECRET="")
    assert first[0] != second[0]
    assert len(first[0]) >= 40

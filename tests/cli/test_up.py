"""What `runflow up` says once it is up."""

from pathlib import Path

import pytest

from runflow.cli import console as consoles
from runflow.cli.up import _welcome
from runflow.ids import new_id
from runflow.installation import FirstSteps
from runflow.settings import Settings
from runflow.supervisor import Listen

SAYS = "RUNFLOW_ALLOWED_NETWORKS=127.0.0.0/8"


@pytest.mark.parametrize(("networks", "told"), [("", True), ("10.0.0.0/8", True), ("127.0.0.0/8", False)])
def test_it_says_how_to_receive_callbacks_on_the_same_machine_unless_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], networks: str, told: bool
) -> None:
    settings = Settings(home=tmp_path, allowed_networks=networks)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(consoles.console, "width", 200)
        _welcome(
            settings,
            Listen("127.0.0.1", 8700, None, None),
            FirstSteps(new_id(), "default", None, tmp_path / "token"),
            worker=False,
        )
    captured = capsys.readouterr()
    lines = [line for line in (captured.out + captured.err).splitlines() if SAYS in line]
    assert len(lines) == told
    assert all("callbacks" in line and "this machine" in line for line in lines)

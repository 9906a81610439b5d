from pathlib import Path

import pytest

from runflow.client import Runflow, RunflowUnreachable
from tests.platform_fixtures import free_port


def test_where_a_file_lies_may_not_answer_either(tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    with Runflow(away, "rf_live_x") as client:
        with pytest.raises(RunflowUnreachable, match=away):
            client.run("01a2034b-bd55-769a-912e-a13f3f6fe3da")
        with pytest.raises(RunflowUnreachable, match=away) as raised:
            client.download({"url": f"{away}/file?signature=hidden"}, tmp_path / "a.png")
    with Runflow(away.replace("//", "//me:hidden@"), "rf_live_x") as client, pytest.raises(RunflowUnreachable) as named:
        client.run("01a2034b-bd55-769a-912e-a13f3f6fe3da")
    assert "hidden" not in str(named.value)
    assert "hidden" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []

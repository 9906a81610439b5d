import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from runflow.client import RunFailed, Runflow, RunflowUnreachable
from tests.support.platform_fixtures import free_port


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


def test_a_second_deployment_leaves_the_name_that_people_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    there: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"items": there})
        sent.append((request.method, json.loads(request.content)))
        return httpx.Response(201, json={})

    with Runflow("http://127.0.0.1:1", "rf_live_x") as client:
        client._http.close()
        monkeypatch.setattr(client, "_http", httpx.Client(base_url="http://box", transport=httpx.MockTransport(answer)))
        client.deploy("portrait", {"1": {}})
        there.append({"id": "a"})
        client.deploy("portrait", {"1": {}})
        client.deploy("portrait", {"1": {}}, name="Portrait")
    assert sent == [
        ("POST", {"name": "portrait", "slug": "portrait", "workflow_json": {"1": {}}}),
        ("PATCH", {"workflow_json": {"1": {}}}),
        ("PATCH", {"workflow_json": {"1": {}}, "name": "Portrait"}),
    ]


@pytest.mark.parametrize("workflow", ["portrait", "/portrait", "default/", ""])
def test_a_workflow_is_dispatched_by_its_path(workflow: str) -> None:
    with Runflow("http://127.0.0.1:1", "rf_live_x") as client, pytest.raises(ValueError, match="default/portrait"):
        client.dispatch(workflow, {})


def test_a_call_asks_once_for_a_short_run_and_goes_on_asking_for_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.raw_path.decode()}")
        return httpx.Response(200, json={"id": "a", **answers.pop(0)})

    going_on = {"status_code": "running", "is_terminal": False}
    done = {"status_code": "succeeded", "is_terminal": True}
    with Runflow("http://127.0.0.1:1", "rf_live_x") as client:
        client._http.close()
        monkeypatch.setattr(client, "_http", httpx.Client(base_url="http://box", transport=httpx.MockTransport(answer)))
        answers += [done, going_on, going_on, done, {**done, "status_code": "failed", "failure_message": "It broke."}]
        assert client.call("default/portrait", {})["status_code"] == "succeeded"
        assert client.call("default/portrait", {})["status_code"] == "succeeded"
        with pytest.raises(RunFailed, match="It broke"):
            client.call("default/portrait", {})
    dispatch, read = "POST /v1/comfyui-workflows/default/portrait/runs?wait=20", "GET /v1/runs/a?wait=20"
    assert asked == [dispatch, dispatch, read, read, dispatch]

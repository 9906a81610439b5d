"""What goes by a workflow's path is asked for by its id, and the other way round: the answer says so."""

import httpx
import pytest

ID = "0197f3a0-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("POST", f"{ID}/runs", "/v1/comfyui-workflows/{owner}/{slug}/runs"),
        ("POST", "square/batches", "/v1/comfyui-workflows/{owner}/{slug}/batches"),
        ("GET", "default/square/inputs", "/v1/comfyui-workflows/{id}/inputs"),
        ("GET", f"default/square/outputs/{ID}", "/v1/comfyui-workflows/{id}/outputs"),
        ("POST", "default/square/rollbacks", "/v1/comfyui-workflows/{id}/rollbacks"),
        ("GET", "default/square/run-performance-stats", "/v1/comfyui-workflows/{id}/run-performance-stats"),
        ("PATCH", "default/square", "/v1/comfyui-workflows/{id}"),
        ("DELETE", "default/square", "/v1/comfyui-workflows/{id}"),
    ],
)
async def test_the_other_name_of_a_workflow_is_asked_for(
    client: httpx.AsyncClient, method: str, path: str, right: str
) -> None:
    answer = await client.request(method, f"/v1/comfyui-workflows/{path}")
    assert answer.status_code in (404, 405)
    assert f"`{right}`" in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "default/square"), ("GET", "default/square/nowhere"), ("PUT", "categories/audio")]
)
async def test_nothing_is_guessed_elsewhere(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, f"/v1/comfyui-workflows/{path}")
    assert answer.status_code in (404, 405)
    assert "{" not in answer.json()["message"]

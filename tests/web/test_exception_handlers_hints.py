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


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/v1/runs/", "/v1/runs"),
        ("//v1/runs", "/v1/runs"),
        ("/runs", "/v1/runs"),
        (f"/comfyui-workflows/{ID}/inputs", f"/v1/comfyui-workflows/{ID}/inputs"),
        ("/v1/v1/runs", "/v1/runs"),
        ("/api/v1/runs", "/v1/runs"),
        ("/health", "/v1/health"),
    ],
)
async def test_a_base_url_that_was_put_together_wrongly_is_told_the_right_address(
    anonymous: httpx.AsyncClient, path: str, right: str
) -> None:
    answer = await anonymous.get(f"http://testserver{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert answer.json()["message"].endswith(f"You may mean `{right}`.")


async def test_an_address_that_takes_another_method_is_not_meant(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/comfyui-workflows/square//runs", json={"input": {}})
    assert (answer.status_code, "You may mean" in answer.json()["message"]) == (404, False)


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/", "/v1/nowhere/", "/", "/favicon.ico", "/v1/v1/nowhere"])
async def test_other_addresses_are_nothing(anonymous: httpx.AsyncClient, path: str) -> None:
    answer = await anonymous.get(path)
    assert "You may mean" not in answer.text

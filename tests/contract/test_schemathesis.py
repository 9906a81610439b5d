"""What nobody thought of, sent to every route of the OpenAPI document: no 5xx, and no answer that breaks its schema.

Each operation gets a bounded number of examples, the same ones in every run: half of them for what an organization
really has, half with ids as they come.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from runflow.server import ROUTES, create_app
from runflow.web import waiting
from runflow.web.route_table import Access
from runflow.web.services import Services
from tests.support import everything as of_everything
from tests.support.everything import Everything, Route, address, served_order

EXAMPLES = 24
"""Per operation."""
CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
UNDESCRIBED = {
    *("/", "/v1/openapi.json", "/docs", "/docs/{name:path}", "/llms.txt"),
    *("/v1/comfyui-workflows/categories/{code}", "/v1/webhooks/event-types/{code}"),
}
OPERATIONS = served_order(
    (method, path)
    for (method, path), access in ROUTES.access.items()
    if path not in UNDESCRIBED and access is not Access.WORKER and method != "HEAD"
)
"""The Worker API is tested by what workers send (`tests/runs`): a token for it is no API key."""


@pytest.fixture(scope="module")
async def everything(services: Services) -> AsyncIterator[Everything]:
    """One of everything; these tests change it as they like."""
    async with of_everything.make(services) as made:
        yield made


@pytest.fixture(scope="module")
async def server(services: Services) -> AsyncIterator[str]:
    """The application on a socket: Schemathesis speaks HTTP from a thread."""
    with socket.socket() as listening, pytest.MonkeyPatch.context() as patched:
        # Whoever waits here waits for nothing: no worker is there.
        patched.setattr(waiting, "MAX_WAIT_SECONDS", 0.2)
        listening.bind(("127.0.0.1", 0))
        serving = uvicorn.Server(uvicorn.Config(create_app(services), lifespan="off", log_config=None))
        task = asyncio.create_task(serving.serve([listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        serving.should_exit = True
        await task


@pytest.fixture(scope="module")
async def api(server: str) -> Any:
    return await asyncio.to_thread(schemathesis.openapi.from_url, f"{server}/v1/openapi.json")


# The application draws random numbers (pauses between attempts) while Schemathesis, in its thread, makes an example:
# Hypothesis takes that for a strategy that does so.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize("route", OPERATIONS, ids=" ".join)
async def test_no_input_breaks_a_route_or_its_schema(api: Any, everything: Everything, route: Route) -> None:
    method, path = route
    headers = {"Authorization": everything.client.headers["Authorization"]}
    shown = ROUTES[route].shown_path
    operation = api[shown][method]
    # Deleting what is there is the sweeps' work; here it would only leave less to try.
    own = "{" in path and method != "DELETE" and not path.startswith("/v1/storage/")

    @given(case=operation.as_strategy(), of_us=st.booleans())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: "schemathesis.Case[Any]", of_us: bool) -> None:
        if own and of_us:
            given_of_us = parameters(path, everything.ids)
            case.path_parameters = {name: value for name, value in given_of_us.items() if f"{{{name}}}" in shown}
        # `fields` leaves out what the schema of the whole record requires.
        checks = [check for check in CHECKED if check is not response_schema_conformance or "fields" not in case.query]
        case.call_and_validate(checks=checks, headers=headers, timeout=40)

    await asyncio.to_thread(send)


def parameters(path: str, ids: dict[str, str]) -> dict[str, str]:
    """Return the path parameters of a route for what an organization has."""
    filled = address(path, ids).split("/")
    return {part[1:-1]: value for part, value in zip(path.split("/"), filled, strict=True) if part.startswith("{")}

"""What nobody thought of, sent to every route of the OpenAPI document: no 5xx, and no answer that breaks its schema.

The server is a real process. Each operation gets a bounded number of examples, the same ones in every run. Ids in the
document are random, so many answers are a 404; the routes that take no id, and every body, are reached for real.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from runflow.web.scopes import ROUTE_SCOPES, Access
from tests.platform_fixtures import Platform, installation

EXAMPLES = 20
"""Per operation."""
CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
UNDESCRIBED = {"/v1/openapi.json", "/docs", "/docs/{name:path}", "/llms.txt"}
OPERATIONS = [
    (method, path.replace(":path}", "}"))
    for (method, path), access in ROUTE_SCOPES.items()
    if path not in UNDESCRIBED and access is not Access.WORKER and method != "HEAD"
]
"""The Worker API is tested by what workers send (`tests/runs`): a token for it is no API key."""


@pytest.fixture(scope="module")
def server() -> Iterator[Platform]:
    with installation(None, arguments=("--no-worker",)) as platform:
        yield platform


@pytest.fixture(scope="module")
def authorization(server: Platform) -> str:
    return f"Bearer {server.key()}"


@pytest.fixture(scope="module")
def api(server: Platform) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}/v1/openapi.json")


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_no_input_breaks_a_route_or_its_schema(api: Any, authorization: str, method: str, path: str) -> None:
    @given(case=api[path][method].as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: "schemathesis.Case[Any]") -> None:
        case.call_and_validate(checks=CHECKED, headers={"Authorization": authorization}, timeout=40)

    send()

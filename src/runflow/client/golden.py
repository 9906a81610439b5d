"""Examples that a workflow keeps, and the tests of new versions with them (docs/api/workflows.md, "Golden runs")."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

from runflow.client import pages, workflows
from runflow.client.effects import Iteration, Plan
from runflow.client.exchange import Session, json_of
from runflow.client.records import Record
from runflow.client.uploads import prepare

Workflowlike = str | Mapping[str, Any]
"""A workflow's record, its id, or its path `owner/slug`."""


def keep(
    session: Session,
    workflow: Workflowlike,
    name: str,
    inputs: Mapping[str, Any] | None,
    *,
    run: str | Mapping[str, Any] | None,
    **fields: Any,
) -> Plan[Record]:
    """Keep these inputs, or those of a run, as an example; files among them are uploaded. Return its record."""
    path = f"{yield from _address(session, workflow)}/examples"
    body: dict[str, Any] = {"name": name}
    body |= {field: value for field, value in fields.items() if value is not None}
    if inputs is not None:
        body["input"] = (yield from prepare(session, inputs)).values
    if run is not None:
        body["run_id"] = run if isinstance(run, str) else run["id"]
    return Record((yield from json_of(session, "POST", path, body=body)))


def examples(session: Session, workflow: Workflowlike, *, limit: int | None = None, **query: Any) -> Iteration[Record]:
    """Emit the examples of a workflow, by name."""
    path = f"{yield from _address(session, workflow)}/examples"
    yield from pages.each(session, path, Record, limit=limit, **query)


def forget(session: Session, workflow: Workflowlike, name: str) -> Plan[None]:
    """Delete the example of this name; where there is none, nothing changes."""
    path = f"{yield from _address(session, workflow)}/examples"
    found = yield from json_of(session, "GET", path, params={"fields": "id,name"})
    for one in found["items"]:
        if one["name"] == name:
            yield from json_of(session, "DELETE", f"{path}/{one['id']}")


def read(session: Session, workflow: Workflowlike, golden_run: str | Mapping[str, Any]) -> Plan[Record]:
    """Return a golden run with what became of each example."""
    golden_id = golden_run if isinstance(golden_run, str) else golden_run["id"]
    path = f"{yield from _address(session, workflow)}/golden-runs/{quote(golden_id, safe='')}"
    return Record((yield from json_of(session, "GET", path)))


def _address(session: Session, workflow: Workflowlike) -> Plan[str]:
    if isinstance(workflow, str) and not _is_id(workflow):
        workflow = yield from workflows.read(session, workflow, fields="id", embed=None)
    return f"{workflows.WORKFLOWS}/{workflow if isinstance(workflow, str) else workflow['id']}"


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True

"""Workflows: deploy them, and read what is deployed."""

from typing import Any

from runflow.client.effects import Plan
from runflow.client.exchange import Session, json_of
from runflow.client.records import Workflow
from runflow.client.runs import workflow_path

WORKFLOWS = "/v1/comfyui-workflows"


def deploy(session: Session, slug: str, prompt: Any, **fields: Any) -> Plan[Workflow]:
    """Create the workflow `slug`, or give it a new version when it exists; return its record."""
    query = {"q": f"slug.eq:'{slug}'", "limit": 1}
    found = (yield from json_of(session, "GET", WORKFLOWS, params=query))["items"]
    body = {**fields, "workflow_json": prompt}
    if found:
        # What is not given stays, the name that people gave it included.
        record = yield from json_of(session, "PATCH", f"{WORKFLOWS}/{found[0]['id']}", body=body)
    else:
        record = yield from json_of(session, "POST", WORKFLOWS, body={"name": slug, **body, "slug": slug})
    return Workflow(record)


def read(session: Session, workflow: str, **query: Any) -> Plan[Workflow]:
    """Return a workflow by its path `owner/slug`, or by its id."""
    address = workflow_path(workflow) if "/" in workflow else f"{WORKFLOWS}/{workflow}"
    query = {"embed": "inputs,outputs", **query}
    return Workflow((yield from json_of(session, "GET", address, params=query)))

"""Workflows: deploy them, and read what is deployed."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from runflow.client.effects import Plan
from runflow.client.errors import Conflict
from runflow.client.exchange import Session, json_of
from runflow.client.records import Record, Workflow
from runflow.client.runs import workflow_path

WORKFLOWS = "/v1/comfyui-workflows"


def deploy(session: Session, slug: str, prompt: Any, **fields: Any) -> Plan[Workflow]:
    """Create the workflow `slug`, or give it a new version when it exists; return its record."""
    body = {**fields, "workflow_json": prompt}
    found = yield from _id_of(session, slug)
    if found is None:
        try:
            return Workflow((yield from json_of(session, "POST", WORKFLOWS, body={"name": slug, **body, "slug": slug})))
        except Conflict:
            # Another deployment may have been first, a moment ago.
            found = yield from _id_of(session, slug)
            if found is None:
                raise
    # What is not given stays, the name that people gave it included.
    return Workflow((yield from json_of(session, "PATCH", f"{WORKFLOWS}/{found}", body=body)))


def _id_of(session: Session, slug: str) -> Plan[str | None]:
    query = {"q": f"slug.eq:'{slug}'", "limit": 1}
    items = (yield from json_of(session, "GET", WORKFLOWS, params=query))["items"]
    return items[0]["id"] if items else None


def prebuild(session: Session, workflow: str | Mapping[str, Any], version: str | int | None = None) -> Plan[Record]:
    """Ask for a version's pre-build, by default the current one's, and return its record.

    `workflow`: a record, an id, or a path `owner/slug`.
    """
    if isinstance(workflow, str):
        workflow = yield from read(session, workflow, fields="id,version", embed=None)
    which = workflow["version"] if version is None else version
    path = f"{WORKFLOWS}/{workflow['id']}/versions/{quote(str(which), safe='')}/prebuild"
    return Record((yield from json_of(session, "POST", path)))


def runtime(session: Session, workflow: str | Mapping[str, Any]) -> Plan[Record]:
    """Return which workers can run a workflow, given as to `prebuild`, and how far its pre-build is."""
    if isinstance(workflow, str):
        workflow = yield from read(session, workflow, fields="id", embed=None)
    return Record((yield from json_of(session, "GET", f"{WORKFLOWS}/{workflow['id']}/runtime")))


def read(session: Session, workflow: str, **query: Any) -> Plan[Workflow]:
    """Return a workflow by its path `owner/slug`, or by its id."""
    address = workflow_path(workflow) if "/" in workflow else f"{WORKFLOWS}/{workflow}"
    query = {"embed": "inputs,outputs", **query}
    return Workflow((yield from json_of(session, "GET", address, params=query)))

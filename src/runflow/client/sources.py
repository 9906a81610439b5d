"""Sources: what code may be built, as the operator approves or revokes it."""

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

from runflow.client.effects import Plan
from runflow.client.exchange import Session, json_of
from runflow.client.records import Source

SOURCES = "/v1/sources"


def decide(session: Session, source: str | Mapping[str, Any], verb: Literal["approve", "revoke"]) -> Plan[Source]:
    """Approve or revoke a source, given by its record or id, and return its record."""
    source_id = source if isinstance(source, str) else source["id"]
    return Source((yield from json_of(session, "POST", f"{SOURCES}/{quote(source_id, safe='')}/{verb}")))

"""Uploading files: declare, send, confirm (docs/api/assets.md, "Uploads"); the same bytes once per client."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runflow.client.effects import Alone, Plan, Request, computed
from runflow.client.errors import ApiError
from runflow.client.exchange import Session, exchange, json_of
from runflow.client.files import Source, is_file, source_of

SEND_SECONDS = 300.0
"""How long storage may take for each part of a file."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The values of a run with references in place of files, and which of these were uploaded before, by input."""

    values: dict[str, Any]
    reused: dict[str, str]

    def outdated(self, error: ApiError) -> bool:
        """Return whether the server refuses one of the references that the client remembered."""
        return any(len(one.loc) > 2 and one.loc[2] in self.reused for one in error.errors)


def prepare(session: Session, inputs: Mapping[str, Any]) -> Plan[Prepared]:
    """Upload what is a file among the values of a run. Raises OSError, and what `upload` raises."""
    values: dict[str, Any] = {}
    reused: dict[str, str] = {}
    for name, value in inputs.items():
        if not is_file(value):
            values[name] = value
            continue
        known = {*session.references.values()}
        values[name] = yield from upload(session, value)
        if values[name] in known:
            reused[name] = values[name]
    return Prepared(values, reused)


def forget(session: Session, prepared: Prepared) -> None:
    """Forget the references that were remembered: their assets may be deleted."""
    gone = {*prepared.reused.values()}
    for name in [name for name, reference in session.references.items() if reference in gone]:
        del session.references[name]


def upload(session: Session, file: Any) -> Plan[str]:
    """Upload a path, bytes or an open file and return its reference `runflow://assets/{uuid}`."""
    source = yield from computed(lambda: source_of(file))
    digest = yield from computed(source.sha256)
    name = f"{digest} {source.mime_type}"

    def once() -> Plan[str]:
        if name not in session.references:
            session.references[name] = yield from _send(session, source)
        return session.references[name]

    reference: str = yield Alone(name, once)
    return reference


def _send(session: Session, source: Source) -> Plan[str]:
    declared = {"filename": source.name, "mime_type": source.mime_type, "size_bytes": source.size}
    opened = yield from json_of(session, "POST", "/v1/asset-uploads", body=declared)
    # The URL is the permission; the key is not for whoever stores the files.
    headers = {"Content-Type": source.mime_type, "Content-Length": str(source.size)}
    request = Request("PUT", opened["upload_url"], headers, source=source, timeout=SEND_SECONDS)
    yield from exchange(session, request)
    path = f"/v1/asset-uploads/{opened['asset_id']}/confirmations"
    asset = yield from json_of(session, "POST", path, body={})
    return f"runflow://assets/{asset['id']}"

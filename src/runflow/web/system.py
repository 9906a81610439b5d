"""Is the server up, can it serve: health and readiness."""

from typing import Annotated, Literal

from fastapi import Depends
from pydantic import BaseModel, Field
from starlette.responses import Response

from runflow import __version__, errors
from runflow.web.responses import json_response
from runflow.web.route_table import Access, Tag
from runflow.web.router import Router
from runflow.web.services import Services, services

TAG = Tag("Status", "Is the server alive and ready.")
router = Router(TAG)


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"]
    ok: Literal[True]
    version: str = Field(description="Release of the server.")


class Readiness(BaseModel):
    """The server can serve."""

    status: Literal["ready"]
    ok: Literal[True]
    database: Literal["ok"]
    storage: Literal["ok"]
    background: Literal["ok"]


@router.head("/v1/health", access=Access.PUBLIC)
@router.get("/v1/health", access=Access.PUBLIC, response_model=Health, summary="Is the process alive")
async def health() -> Response:
    """Answer without looking at anything else. Some clients read `status`, others `ok`."""
    return json_response({"status": "ok", "ok": True, "version": __version__})


@router.head("/v1/readiness", access=Access.PUBLIC)
@router.get("/v1/readiness", access=Access.PUBLIC, response_model=Readiness, summary="Can it serve requests")
async def readiness(parts: Annotated[Services, Depends(services)]) -> Response:
    """Answer 200 when database, storage and what works beside the requests do, else 503.

    A missing worker never makes a server unready.
    """
    async with parts.db.system() as transaction:
        await transaction.run("SELECT 1")
    await parts.storage.ready()
    if still := parts.background.standing_still:
        raise errors.Unavailable(
            f"This server answers, but some of its work stands still: {', '.join(still)}. Look at its log; restart it.",
            headers={"Retry-After": "5"},
        )
    return json_response({"status": "ready", "ok": True, "database": "ok", "storage": "ok", "background": "ok"})

"""Is the server up, can it serve: health and readiness."""

from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy import text
from starlette.responses import Response

from runflow import __version__
from runflow.services import Services, services
from runflow.web.responses import json_response

router = APIRouter(tags=["Status"])


@router.get("/v1/health", summary="Is the process alive")
async def health() -> Response:
    """Answer without looking at anything else (wire.md 14: clients read `status` or `ok`)."""
    return json_response({"status": "ok", "ok": True, "version": __version__})


@router.get("/v1/readiness", summary="Can it serve requests")
async def readiness(parts: Annotated[Services, Depends(services)]) -> Response:
    """Answer 200 when database and storage work, else 503. A missing worker never makes a server unready."""
    async with parts.db.system() as connection:
        await connection.execute(text("SELECT 1"))
    await parts.storage.ready()
    return json_response({"status": "ready", "ok": True, "database": "ok", "storage": "ok"})

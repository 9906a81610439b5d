"""Organizations, their members, and who the caller is, over HTTP."""

from fastapi import APIRouter

router = APIRouter()

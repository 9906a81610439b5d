"""The GPU catalogue over HTTP."""

from fastapi import APIRouter

router = APIRouter()

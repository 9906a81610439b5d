"""Audit events over HTTP."""

from fastapi import APIRouter

from runflow.audit import recorder as recorder

router = APIRouter()

"""Deliveries and attempts as the wire shows them."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson

from runflow.deliveries.schemas import DeliveryAttempt, DeliveryState


def state(row: Any) -> dict[str, Any]:
    """Return how far a delivery has come; `row` is one of `deliveries`."""
    return {name: getattr(row, name) for name in DeliveryState.model_fields}


def payload(row: Any) -> dict[str, Any]:
    """Return what a delivery says."""
    body: dict[str, Any] = orjson.loads(row.payload)
    return body


def attempt(row: Any) -> dict[str, Any]:
    """Return an attempt; `row` is one of `delivery_attempts`."""
    known = {name: getattr(row, name) for name in DeliveryAttempt.model_fields if name != "succeeded"}
    return {**known, "succeeded": row.error_message is None}


def by_delivery(rows: Iterable[Any]) -> dict[UUID, list[dict[str, Any]]]:
    """Return attempts by the id of their delivery, in the order in which they come."""
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.delivery_id, []).append(attempt(row))
    return found

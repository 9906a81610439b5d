"""`Idempotency-Key`: a repeated POST answers what the first one answered, and does nothing again."""

from runflow.web.idempotency.layer import Idempotency
from runflow.web.idempotency.sweep import sweep_idempotency_keys

__all__ = ["Idempotency", "sweep_idempotency_keys"]

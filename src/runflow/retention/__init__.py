"""Retention: what is removed by itself, and when (docs/operations.md, "Retention")."""

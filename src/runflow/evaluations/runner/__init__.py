"""Judging what waits: claims, judges, verdicts."""

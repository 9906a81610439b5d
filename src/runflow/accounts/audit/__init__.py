"""Audit events: who changed what, when, from where."""

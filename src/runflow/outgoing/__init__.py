"""Outgoing requests to addresses that others chose, guarded."""

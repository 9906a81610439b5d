"""Runs: dispatch, the durable queue, leases, completion."""

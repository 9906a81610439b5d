"""The durable queue: lanes, the choice of the next run, leases, completion, sweeps."""

"""The worker's side of the Worker API (docs/worker-api.md): the token, the connections, the requests."""

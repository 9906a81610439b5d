"""`links` of a run: the addresses of what belongs to it."""

from uuid import UUID


def run_links(base_url: str, run_id: UUID, workflow_id: UUID, batch_id: UUID | None) -> dict[str, str]:
    """Return the addresses, absolute, by what they lead to."""
    run = f"{base_url}/v1/runs/{run_id}"
    links = {
        "self": run,
        "events": f"{run}/events",
        "logs": f"{run}/logs",
        "node_runs": f"{run}/node-runs",
        "attempts": f"{run}/attempts",
        "callback": f"{run}/callback",
        "evaluations": f"{run}/evaluations",
        "cancellation": f"{run}/cancellation",
        "reruns": f"{run}/reruns",
        "workflow": f"{base_url}/v1/comfyui-workflows/{workflow_id}",
    }
    if batch_id is not None:
        links["batch"] = f"{base_url}/v1/batches/{batch_id}"
    return links

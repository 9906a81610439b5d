"""Which slugs a workflow may have (docs/api/workflows.md, "Slugs")."""

from runflow.slugs import SlugRule

WORKFLOW = SlugRule(
    frozenset(
        {
            "categories",
            "inputs",
            "outputs",
            "versions",
            "rollbacks",
            "restorations",
            "runs",
            "batches",
            "evaluation-stats",
            "run-performance-stats",
            "evaluation-issue-categories",
            "openapi.json",
        }
    )
)
"""Reserved: fixed words of the routes below `/v1/comfyui-workflows`; as slugs they would be unreachable."""

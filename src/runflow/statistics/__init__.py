"""Statistics: what happened to the runs of a workflow, by time."""

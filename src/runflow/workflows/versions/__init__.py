"""The immutable versions of a workflow, and going back to one."""

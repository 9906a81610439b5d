"""Limits and defaults that bodies, automatic evaluations and the engine share."""

MAX_REFERENCES = 4
"""Reference images of one evaluation (docs/api/evaluations.md, "Submitting")."""
MAX_TEXT = 20_000
"""Characters of a text."""
MAX_REASON = 2000
"""Characters of a feedback's reason (docs/api/evaluations.md, "Feedback")."""
MAX_ATTRIBUTES_BYTES = 64 * 1024
"""JSON bytes of `input_attributes`."""
MAX_ATTEMPTS = 3
"""Attempts at one evaluation, lost ones included."""
TASK_TYPE = "image"
"""`task_type` of automatic evaluations whose workflow names none."""

"""Auto setup: what a workflow needs and this machine lacks, as a plan that a person approves line by line.

Everything that a workflow file says is somebody else's word. `declared.py` reads it, `sources.py` and
`safe_paths.py` judge it, `plan.py` shows it, `job.py` does what was approved and nothing else.
"""

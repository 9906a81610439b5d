"""The steps of a judging process beside its judges, in a file of their own: server and process both name them."""

OPENING = "opening"
"""Before the first judge: decoding."""
PREVIEW = "preview"
"""After the last judge: small copies for judges that look from elsewhere."""

"""Pre-builds: a worker builds a version's runtime and fetches its models before a run needs them."""

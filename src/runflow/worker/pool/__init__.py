"""The engines of a worker: which, how many, for whom, and what each has in memory."""

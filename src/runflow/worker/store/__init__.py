"""Files that outlive a run on a worker: models and resources by hash."""

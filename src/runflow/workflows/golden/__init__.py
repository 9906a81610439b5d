"""Golden runs: examples that a workflow keeps, and versions that serve only once they have run them."""

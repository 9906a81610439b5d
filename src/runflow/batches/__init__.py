"""Batches: many runs of one workflow, dispatched together and reported together."""

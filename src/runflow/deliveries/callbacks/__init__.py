"""Callbacks of runs and batches: signing secrets, delivery history, redelivery."""

"""The GPU catalogue: classes, memory, prices, workers online."""

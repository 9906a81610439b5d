"""Processes that handle what strangers sent."""

"""Metering: usage, balances, budgets, run statistics."""

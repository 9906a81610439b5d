"""The whole installation in numbers, for its operator: counts of every tenant, never what they made or sent."""

"""Accounts: organizations with their members, keys and limits, and who did what."""

"""Webhooks: what an organization subscribes to, and what was delivered."""

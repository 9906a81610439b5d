"""Deliveries: the outbox and its sender, which callbacks and webhooks share."""

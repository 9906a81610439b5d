"""Deliveries: the outbox engine that callbacks and webhooks share."""

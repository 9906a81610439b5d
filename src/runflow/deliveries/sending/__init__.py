"""Emptying the outbox: claims, attempts, what follows from an answer."""

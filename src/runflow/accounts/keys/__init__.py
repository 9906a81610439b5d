"""API keys: scoped, hashed, shown once, revoked everywhere at once."""

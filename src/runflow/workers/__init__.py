"""Workers as the server sees them, and the Worker API."""

"""Where strangers' build commands run: a user of their own, no network, limits, and what they print."""

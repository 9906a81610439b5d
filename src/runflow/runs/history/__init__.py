"""What happened in a run: its log, node runs, attempts, and the stream of its events."""

"""Storage: files behind object keys, with signed URLs."""

"""Models: files that existed on an author's machine only, uploaded by content hash, for the workers to fetch."""

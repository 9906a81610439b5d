"""What a version needs of a worker's engine, and which workers have it."""

"""What a worker says of its machine: its engine, its GPU, its models, its node packs."""

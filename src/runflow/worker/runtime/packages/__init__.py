"""The Python packages of a runtime: what packs ask for, resolved to one locked set, built where no wheel exists."""

"""The sources of a runtime: strangers' repositories at exact commits, mirrored and written out, never run."""

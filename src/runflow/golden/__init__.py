"""What golden runs need of runs and evaluations: examples are checked, runs dispatched, watched and judged."""

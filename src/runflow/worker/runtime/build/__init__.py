"""Build a runtime from what strangers wrote: their code runs confined, and what comes out of it is looked at."""

"""One attempt of a run, from its lease to its completion: files, prompt, turn, report, outputs."""

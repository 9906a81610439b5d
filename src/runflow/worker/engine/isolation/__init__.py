"""What an engine cannot leave: the rungs of this machine, what an engine sees on each, and how it is put there."""

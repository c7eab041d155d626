"""Files of heads, runs and ablations: written whole, read with suspicion."""

"""From a head's raw scores to what is said: probabilities at a prior, operating points, verdicts."""

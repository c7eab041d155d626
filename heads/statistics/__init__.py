"""Figures of predictions and how far they can be trusted: resamples of groups, intervals, rankings, probabilities."""

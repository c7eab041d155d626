"""Rows of a store as matrices and targets."""

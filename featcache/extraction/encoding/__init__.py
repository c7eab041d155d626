"""Inputs become shards: batched, encoded and published."""

"""Pixels on a GPU, equal to Pillow's in every bit."""

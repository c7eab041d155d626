"""Bytes become pixels, and seeded perturbations of them."""

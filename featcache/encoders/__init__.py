"""Pixels and captions become named vectors."""

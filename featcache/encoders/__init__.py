"""Frozen encoders: what turns a caption or a picture into named vectors."""

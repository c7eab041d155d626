"""What names a vector: its producer, its view, its output, its content's key."""

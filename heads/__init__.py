"""Train light fusion heads on cached embeddings."""

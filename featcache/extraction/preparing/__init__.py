"""Pictures become the inputs of encoders, in threads or in processes."""

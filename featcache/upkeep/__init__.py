"""What a cache holds and lacks, whether it is whole, and mending it."""

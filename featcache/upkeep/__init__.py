"""Looking after a cache: what it holds and lacks, whether it is whole, and mending it."""

"""What is asked for, what of it a cache lacks, and in which units it is made."""

"""What of a data set a cache lacks, and in which units it is made."""

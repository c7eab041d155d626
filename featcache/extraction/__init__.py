"""Where making and keeping meet: what a cache lacks is encoded."""

"""The command ``featcache extract``: its options, its progress, its result."""

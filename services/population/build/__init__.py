"""population -> the next version of its cluster index."""

"""Releases: a whole collection of photos, each with its faces replaced, a manifest, and a proof; one verb a file."""

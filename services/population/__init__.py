"""Offline flow: people -> embeddings and latents -> partition -> cluster index."""

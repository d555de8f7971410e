"""StyleGAN (1), from its official pickles."""

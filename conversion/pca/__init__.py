"""PCA of chips: fitted, kept, converted."""

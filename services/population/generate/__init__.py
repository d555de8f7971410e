"""Photos of people who do not exist, several of each, and data sets that are laid out as others are."""

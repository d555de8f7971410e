"""What of the photos is kept: is a face still found, where it looks, how good is the picture; one a file."""

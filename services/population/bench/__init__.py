"""`anonfaces bench`: what the parts of a population cost, and how good they are, measured side by side."""

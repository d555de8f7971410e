"""How the system is run: `local` is one machine without containers."""

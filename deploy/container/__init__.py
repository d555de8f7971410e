"""The images of this project: built, and run as they are in production, on a machine without a registry."""

"""Load on the service: k6 sends requests, Python watches the machine and writes a report."""

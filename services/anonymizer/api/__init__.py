"""The interfaces of the service: what it can do (operations), and the protocols that ask for it (HTTP, gRPC)."""

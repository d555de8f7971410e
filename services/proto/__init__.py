"""The gRPC interface: its definition, and the code that `make proto` writes from it (both are committed)."""

"""The gRPC interface: its definition, and the code that `make proto` writes from it (both are committed)."""

# What the trailing metadata of an error hold.
ERROR_CODE = "anonfaces-error"  # its code, as in services/errors.py
RETRY_AFTER = "retry-after"  # seconds after which another try makes sense

"""`anonfaces serve`: the service, against a Triton that runs somewhere."""

import sys

from services.settings import settings


def serve() -> None:
    """Serves HTTP and gRPC as the settings (ANONFACES_...) say, with the Triton that ANONFACES_TRITON_URL names.

    Ends by SIGTERM or Ctrl-C, when the requests it has are answered. What it cannot start with, it says in one line.
    """
    from services.serve import run  # loads the search libraries, which no other command needs

    sys.exit(run(settings()))

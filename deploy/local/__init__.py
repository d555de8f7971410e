"""The whole stack on one machine: a real Triton server, the BentoML service, and a demo that uses both."""

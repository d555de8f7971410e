"""Attacks on the system rather than on a face: what its answers, its surrogates and several releases tell together."""

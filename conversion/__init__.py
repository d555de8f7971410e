"""Weights in, model repository out: one module a source format. A running service never imports this package."""

CONVERTER_VERSION = "1"

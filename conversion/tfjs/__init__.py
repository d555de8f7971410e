"""Recognisers from TensorFlow.js graph models."""

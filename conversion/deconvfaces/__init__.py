"""The up-convolutional face generator, from Keras HDF5."""

"""FaceNet, from a frozen TensorFlow graph."""

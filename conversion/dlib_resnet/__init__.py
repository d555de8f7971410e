"""dlib's face recognition ResNet, from its `.dat`."""

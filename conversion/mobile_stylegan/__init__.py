"""MobileStyleGAN, from its OpenVINO IR."""

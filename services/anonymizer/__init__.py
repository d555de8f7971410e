"""Online flow, bytes to bytes: decode -> detect -> align -> embed -> look up -> synthesise -> blend -> encode."""

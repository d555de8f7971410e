"""Online flow: bytes -> decode -> detect -> align -> embed -> look up crowd -> synthesise -> blend -> encode -> bytes."""

"""What users import of AnonFACES: `anonfaces.client`. The rest is the running system, in packages of its own."""

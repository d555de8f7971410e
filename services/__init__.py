"""The running system: `anonymizer` is one photo through, `population` is a population through."""

"""How results are printed, for people (rich) and as JSON."""

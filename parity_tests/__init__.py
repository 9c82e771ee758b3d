"""The evidence: the suite that `scripts/test` runs."""

"""The checker: probes, oracle, comparison, reports and the command line."""

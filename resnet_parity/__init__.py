"""The judge: probes, oracle, comparison, reports and the command line."""

"""The site that shows both implementations side by side, built from their sources and results."""

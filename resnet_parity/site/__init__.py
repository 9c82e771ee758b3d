"""The page on which both implementations are read side by side, generated from their sources and results."""

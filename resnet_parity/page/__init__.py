"""The page on which both hands are read side by side, generated from their sources and results."""

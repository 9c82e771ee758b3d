"""Readers and writers of checkpoint files, one module per format; nothing in a file is run.

Each reader has a function `open_...(path) -> Checkpoint` (see `stored`), which checks names, shapes
and sizes before it reads numbers, and raises `ParityError` that names the file, the tensor, the fix.
"""

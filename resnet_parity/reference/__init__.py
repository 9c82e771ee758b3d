"""The oracle: a third implementation in NumPy, straight from the spec, that decides what is right.

`oracle` computes the forward pass and `derivatives` the backward pass, both in float64 or in exact
integers. `values` holds the numbers that they compute with, and the bounds that prove an exact pass
free of rounding.
"""

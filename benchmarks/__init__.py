"""Measures speed, impacts, errors, engines and exports; benchmarks/results holds the rows."""

from resnet_parity.adapters.loading import load_triton

load_triton()  # before any module imports TensorFlow

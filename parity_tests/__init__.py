"""The evidence: the suite that `scripts/test` runs."""

from resnet_parity.adapters.loading import load_triton

load_triton()  # before any module of the suite imports a framework

"""What must happen before any test module imports a framework."""

from __future__ import annotations

from resnet_parity.frameworks import load_triton

load_triton()

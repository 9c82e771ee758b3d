"""Which versions of ONNX's operators are read, worked in, and written."""

from __future__ import annotations

from resnet_parity.errors import ParityError

READ = range(13, 24)
"""Before 13 axes lie elsewhere, and runtimes that are a year old know none after 23."""

WORKING = 18
"""In which graphs are exported, cleaned and recognised; what is older is converted first."""

WRITTEN = range(WORKING, READ.stop)
"""Those that an export may have."""


def check_written(opset: int) -> None:
    """Raise `ParityError` for an opset that an export cannot have."""
    if opset not in WRITTEN:
        raise ParityError(f"opset {opset} cannot be had; {WRITTEN[0]} to {WRITTEN[-1]} can")

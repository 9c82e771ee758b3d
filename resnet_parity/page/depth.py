"""The error at every tap of some nets, in every dtype and both hands, as data for the page.

Run as a module it writes `docs/results/depth.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from resnet_spec import Architecture, get_architecture

from resnet_parity.engine import relative_error
from resnet_parity.frameworks import eager_mode, keras_adapter, torch_adapter
from resnet_parity.page import provenance
from resnet_parity.probes import Probe, random_probe

NETS = (
    "resnet18",
    "resnet50",
    "resnet152",
    "resnet20",
    "resnet50d",
    "resnetv2_50",
    "seresnet50",
    "plain34",
)
DTYPES = ("float64", "float32", "bfloat16")


def measure(name: str) -> dict[str, Any]:
    """For every tap of a net, in order, the relative L2 errors against the float64 oracle."""
    arch = get_architecture(name)
    probes = {dtype: random_probe(arch, 0, dtype) for dtype in DTYPES[:2]}
    probes["bfloat16"] = probes["float32"]
    errors: dict[str, dict[str, list[float]]] = {}
    for dtype, probe in probes.items():
        for hand, found in _outputs(arch, probe, dtype):
            errors.setdefault(dtype, {})[hand] = [
                float(f"{_error(probe, tap, found):.2e}") for tap in probe.expected
            ]
    size = "x".join(map(str, probes["float32"].images.shape[2:]))
    return {"image": size, "taps": list(probes["float32"].expected), "errors": errors}


def _error(probe: Probe, tap: str, found: Mapping[str, np.ndarray]) -> float:
    """As the ladder has it: over the norm of the terms, where those are larger than their sum."""
    return relative_error(probe.expected[tap], found[tap], probe.scales.get(tap, 0.0))


def _outputs(
    arch: Architecture, probe: Probe, dtype: str
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """What each hand gives at every tap; in bfloat16 as its framework mixes precisions."""
    import torch

    import resnet_keras

    narrow = dtype == "bfloat16"
    adapter = torch_adapter()
    model = adapter.build(arch, probe.weights, probe.dtype)
    with torch.autocast("cpu", torch.bfloat16) if narrow else nullcontext():
        yield "torch", _as_float64(adapter.run(model, probe.images, "nchw"))
    adapter = keras_adapter()
    model = resnet_keras.create_model(arch, dtype="mixed_bfloat16" if narrow else dtype)
    resnet_keras.set_weights(model, probe.weights)
    yield "keras", _as_float64(adapter.run(model, probe.images, eager_mode(adapter)))


def _as_float64(taps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.astype("float64") for name, value in taps.items()}


def main() -> int:
    """Measure all nets and write the file."""
    versions = provenance.versions(torch_adapter(), keras_adapter())
    nets = {}
    for name in NETS:
        nets[name] = measure(name)
        print(name, {d: {h: max(v) for h, v in e.items()} for d, e in nets[name]["errors"].items()})
    provenance.write("depth", {"versions": versions, "seed": 0, "nets": nets})
    return 0


if __name__ == "__main__":
    sys.exit(main())

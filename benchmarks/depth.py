"""The error at every tap of the nets, in every dtype and both implementations, as data for the page.

Run as a module it writes `docs/results/depth.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import numpy as np

from resnet_spec import ARCHITECTURES, Architecture, get_architecture

from benchmarks import provenance
from resnet_parity.adapters.loading import eager_mode, keras_adapter, torch_adapter
from resnet_parity.checks.engine import NOISE_FLOOR_MODES
from resnet_parity.compare import relative_error
from resnet_parity.probes import Probe, random_probe

NETS = tuple(name for name in ARCHITECTURES if name != "resnet1202")
"""All but the one that has 5,400 taps."""

DTYPES = ("float64", "float32", "bfloat16")


def measure(name: str) -> dict[str, Any]:
    """For every tap of a net, in order, the relative L2 errors against the float64 oracle.

    Of PyTorch the larger one of its two memory layouts, as the noise floor has it.
    """
    arch = get_architecture(name)
    probes = {dtype: random_probe(arch, 0, dtype) for dtype in DTYPES[:2]}
    probes["bfloat16"] = probes["float32"]
    errors: dict[str, dict[str, list[float]]] = {}
    for dtype, probe in probes.items():
        least = [0.0] * len(probe.expected)
        for framework, found in _outputs(arch, probe, dtype):
            frameworks = errors.setdefault(dtype, {})
            own = [float(f"{_error(probe, tap, found):.2e}") for tap in probe.expected]
            frameworks[framework] = list(map(max, own, frameworks.get(framework, least)))
    size = "x".join(map(str, probes["float32"].images.shape[2:]))
    return {"image": size, "taps": list(probes["float32"].expected), "errors": errors}


def _error(probe: Probe, tap: str, found: Mapping[str, np.ndarray]) -> float:
    """As the checks has it: over the norm of the terms, where those are larger than their sum."""
    return relative_error(probe.expected[tap], found[tap], probe.scales.get(tap, 0.0))


def _outputs(
    arch: Architecture, probe: Probe, dtype: str
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """What each implementation gives at every tap; in bfloat16 as its framework mixes precisions.

    PyTorch comes twice, in the two memory layouts that make the noise floor.
    """
    narrow = dtype == "bfloat16"
    torch, adapter = import_module("torch"), torch_adapter()
    model = adapter.build(arch, probe.weights, probe.dtype)
    for mode in NOISE_FLOOR_MODES:
        with torch.autocast("cpu", torch.bfloat16) if narrow else nullcontext():
            yield "torch", _as_float64(adapter.run(model, probe.images, mode))
    framework, adapter = import_module("resnet_keras"), keras_adapter()
    model = framework.create_model(arch, dtype="mixed_bfloat16" if narrow else dtype)
    framework.set_weights(model, probe.weights)
    yield "keras", _as_float64(adapter.run(model, probe.images, eager_mode(adapter)))


def _as_float64(taps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.astype("float64") for name, value in taps.items()}


def main() -> int:
    """Measure all nets and write the file."""
    stamp = provenance.stamp("depth")
    versions = provenance.versions(torch_adapter(), keras_adapter())
    nets = {}
    for name in NETS:
        nets[name] = measure(name)
        print(name, {d: {h: max(v) for h, v in e.items()} for d, e in nets[name]["errors"].items()})
    provenance.write("depth", stamp, {"versions": versions, "seed": 0, "nets": nets})
    return 0


if __name__ == "__main__":
    sys.exit(main())

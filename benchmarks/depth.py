"""The error at every tap of every architecture, for each dtype and implementation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from importlib import import_module

import numpy as np

from resnet_spec import ARCHITECTURES, Architecture, get_architecture

from benchmarks.provenance import Measured, Results, versions
from resnet_parity.adapters.loading import eager_mode, keras_adapter, torch_adapter
from resnet_parity.checks.engine import NOISE_FLOOR_MODES
from resnet_parity.compare import relative_error
from resnet_parity.probes import Probe, random_probe

NETS = tuple(name for name in ARCHITECTURES if name != "resnet1202")
"""Every architecture but resnet1202, which has 5,400 taps."""

DTYPES = ("float64", "float32", "bfloat16")
SEED = 0


def measure(name: str) -> Measured:
    """Measure the relative L2 errors of a network at every tap, in order, against the float64
    oracle.

    PyTorch's error is the larger one of its two memory layouts, as in the noise floor.
    """
    arch = get_architecture(name)
    probes = {dtype: random_probe(arch, SEED, dtype) for dtype in DTYPES[:2]}
    probes["bfloat16"] = probes["float32"]
    errors: dict[str, dict[str, list[float]]] = {}
    for dtype, probe in probes.items():
        zeros = [0.0] * len(probe.expected)
        for framework, outputs in _outputs(arch, probe, dtype):
            frameworks = errors.setdefault(dtype, {})
            found = [float(f"{_error(probe, tap, outputs):.2e}") for tap in probe.expected]
            frameworks[framework] = list(map(max, found, frameworks.get(framework, zeros)))
    size = "x".join(map(str, probes["float32"].images.shape[2:]))
    taps = list(probes["float32"].expected)
    figures = {"seed": SEED, "image": size, "taps": taps, "errors": errors}
    return Measured(figures, versions(torch_adapter(), keras_adapter()))


def _error(probe: Probe, tap: str, outputs: Mapping[str, np.ndarray]) -> float:
    """The error as the checks measure it: over the norm of the terms where that is the larger."""
    return relative_error(probe.expected[tap], outputs[tap], probe.scales.get(tap, 0.0))


def _outputs(
    arch: Architecture, probe: Probe, dtype: str
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield the value of every tap from each implementation, PyTorch's in both memory layouts.

    In bfloat16 each framework mixes precisions in its own way: autocast, or a dtype policy.
    """
    mixed = dtype == "bfloat16"
    torch, adapter = import_module("torch"), torch_adapter()
    model = adapter.build(arch, probe.weights, probe.dtype)
    for mode in NOISE_FLOOR_MODES:
        with torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext():
            yield "torch", _as_float64(adapter.run(model, probe.images, mode))
    resnet_keras, adapter = import_module("resnet_keras"), keras_adapter()
    model = resnet_keras.create_model(arch, dtype="mixed_bfloat16" if mixed else dtype)
    resnet_keras.set_weights(model, probe.weights)
    yield "keras", _as_float64(adapter.run(model, probe.images, eager_mode(adapter)))


def _as_float64(taps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.astype("float64") for name, value in taps.items()}


RESULTS = Results("depth", 1, {name: get_architecture(name) for name in NETS}, measure)

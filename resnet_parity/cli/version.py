"""`--version`, and with `--verbose` what a report of a fault needs to say."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from resnet_parity.cli import options

_PACKAGES = (
    *("numpy", "torch", "keras", "tensorflow", "jax"),
    *("onnx", "onnxruntime", "onnxscript", "tf2onnx", "openvino", "tensorboard"),
)


def run(*, verbose: bool) -> options.Result:
    """The version, or all lines that `--verbose` adds."""
    lines = [f"resnet-parity {version('resnet-parity')}", *(_lines() if verbose else ())]
    return 0, lambda: options.print_text("\n".join(lines))


def _lines() -> Iterator[str]:
    from resnet_parity.machine import machine

    yield f"python {platform.python_version()}"
    for name in _PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} is not installed"
    yield from (f"{name}: {value}" for name, value in machine().items())
    yield f"rounding: {_rounding()}"


def _rounding() -> str:
    """Whether Keras rounds norms whose result float32 holds, in each mode that compiles nothing."""
    from resnet_parity.adapters.loading import eager_mode, keras_adapter
    from resnet_parity.adapters.protocol import rounding_reason
    from resnet_parity.errors import ParityError

    try:
        keras = keras_adapter()
    except ParityError as error:
        return f"unknown; {error}"
    reason = rounding_reason(keras, eager_mode(keras), "float32")
    return reason or "none; 1 / sqrt(4) is 0.5 in float32"

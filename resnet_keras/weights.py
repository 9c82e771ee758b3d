"""Get and set the weights of a Keras model, by canonical name and in canonical layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras
import numpy as np

from resnet_spec import (
    Architecture,
    Parameter,
    WeightsError,
    check_model,
    check_weights,
    layer_problems,
    parameters,
    read_architecture,
)
from resnet_spec.weights import given_architecture

from resnet_keras.network import find_network
from resnet_keras.operations import Layers, operations_of


def get_weights(
    model: keras.Model, architecture: str | Architecture | None = None, *, name: str | None = None
) -> dict[str, np.ndarray]:
    """A copy of every tensor of the model: kernels (out, in, H, W), dense kernels (out, in).

    The arguments are those of `architecture_of`. A LoRA update is added to its kernel.

    Raises `resnet_spec.WeightsError` if the model's tensors or layers are not those of the
    architecture, and `resnet_spec.ArchitectureError` if its layers are those of none.
    """
    layers, arch = _network(model, architecture, name)
    variables = _assigned(layers, arch)
    # DIFFERS(kernel-layout): torch keeps a kernel as (out, in, H, W), Keras as (H, W, in, out).
    arrays = {p: keras.ops.convert_to_numpy(value) for p, value in variables.items()}
    arrays |= {p: arrays[p] + _lora_update(layers[p.keras_layer]) for p in _adapted(layers, arch)}
    return {p.name: np.einsum(p.to_torch, array).copy() for p, array in arrays.items()}


def set_weights(
    model: keras.Model,
    weights: Mapping[str, np.ndarray],
    architecture: str | Architecture | None = None,
    *,
    name: str | None = None,
) -> None:
    """Set every tensor of the model, or none if an error is raised.

    The arguments are those of `architecture_of`.

    Raises `resnet_spec.WeightsError` that names every missing, extra, mis-shaped, mis-typed or
    non-finite tensor, and every negative variance, or if the model's layers are not those of the
    architecture; `resnet_spec.ArchitectureError` if its layers are those of none.
    """
    layers, arch = _network(model, architecture, name)
    variables = _assigned(layers, arch)
    adapted = [f"{p.keras_layer} adds an update to its kernel" for p in _adapted(layers, arch)]
    if adapted:
        fix = "set the weights before enable_lora(...)"
        raise WeightsError("LoRA is enabled, nothing was set", adapted, fix)
    dtypes = {p.name: str(value.dtype) for p, value in variables.items()}
    check_weights(arch, weights, dtypes)
    # DIFFERS(kernel-layout): torch keeps a kernel as (out, in, H, W), Keras as (H, W, in, out).
    for p, value in variables.items():
        value.assign(np.einsum(p.to_keras, weights[p.name]))


def architecture_of(
    model: keras.Model, architecture: str | Architecture | None = None, *, name: str | None = None
) -> Architecture:
    """The architecture of the ResNet in a model: its attribute, or read from its layers.

    The layers of a model without it are read. That may be a saved or copied one, and may hold other
    layers, another classifier or the ResNet as a layer. Of several ResNets, `name` is the one to
    take: its own, or that of the model in it. `architecture` is what the layers are compared with,
    except for the decays of their norms; a name means the row with the classes and the image
    channels that the model has.

    Raises `resnet_spec.WeightsError` if they are not those of this architecture, and
    `resnet_spec.ArchitectureError` if they are those of none.
    """
    return _network(model, architecture, name)[1]


def variables_of(model: keras.Model, arch: Architecture) -> dict[Parameter, keras.Variable]:
    """The variable of the model for each parameter of the architecture, one to one."""
    return _assigned(find_network(model).layers, arch)


def _network(
    model: keras.Model, architecture: str | Architecture | None, name: str | None
) -> tuple[Layers, Architecture]:
    """The layers of the ResNet in a model, and its architecture."""
    network = find_network(model, name)
    known = getattr(model, "architecture", None)
    if architecture is not None:
        found = tensors_of(network.layers)
        shapes = {each: tuple(value.shape) for each, value in found.items()}
        arch = given_architecture(model, architecture, shapes)
        _assigned(network.layers, arch)
        if problems := layer_problems(arch, operations_of(network.layers), decays=False):
            raise WeightsError(f"the model is not a {arch.name!r}", problems)
    elif isinstance(known, Architecture):  # made in this process
        arch = known
    else:
        operations = operations_of(network.layers)
        arch = read_architecture(network.name, operations, network.outputs)
    return network.layers, arch


def _assigned(layers: Layers, arch: Architecture) -> dict[Parameter, keras.Variable]:
    """The variable of these layers for each parameter of the architecture, one to one."""
    found = tensors_of(layers)
    expected = {p.keras_name: p.keras_shape for p in parameters(arch)}
    check_model(arch, expected, {name: tuple(value.shape) for name, value in found.items()})
    return {p: found[p.keras_name] for p in parameters(arch)}


def tensors_of(layers: Layers) -> dict[str, keras.Variable]:
    """The variables of these layers, as `layer/variable`; updates of LoRA are left out."""
    quantized = [name for name, each in layers.items() if getattr(each, "quantization_mode", None)]
    if quantized:
        problems = [f"{name} holds rounded integers" for name in quantized]
        fix = "get and set the weights before model.quantize(...)"
        raise WeightsError("the model is quantized", problems, fix)
    variables = ((name, value) for name, layer in layers.items() for value in layer.variables)
    return {f"{n}/{v.name}": v for n, v in variables if not v.name.startswith("lora_")}


def _adapted(layers: Layers, arch: Architecture) -> Iterator[Parameter]:
    """The kernels to which LoRA adds an update."""
    kernels = (p for p in parameters(arch) if p.keras_variable == "kernel")
    return (p for p in kernels if getattr(layers[p.keras_layer], "lora_enabled", False))


def _lora_update(layer: keras.layers.Layer) -> np.ndarray:
    """The update that LoRA adds to the kernel of a dense layer or a convolution."""
    down, up = (keras.ops.convert_to_numpy(v) for v in (layer.lora_kernel_a, layer.lora_kernel_b))
    return layer.lora_alpha / layer.lora_rank * (down @ up)

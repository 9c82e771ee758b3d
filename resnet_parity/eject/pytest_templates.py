"""The text of the pytest files that `pytest_file` writes.

A line that ends with `#: MARK` is for networks of that kind alone, with `#: no MARK` for others.
"""

_HEADER = '''\
"""Tests that $(module).py is still $(name).

They draw the exact probe of resnet-parity: weights and images of small integers, on
which no arithmetic rounds, so that every engine must give the same bits.
"""
'''

_COMMON = '''\
NAME = "$(name)"
SHAPE = $(shape)
ODD = $(odd shape)  #: odd
EPS = $(eps)
NONZEROS = $(nonzeros)
ACTIVE, OF = $(active), $(of)  #: sparse
GROUPS = $(groups)  #: groups
AVERAGED = $(averaged)  #: average
EXPECTED = {
$(expected)}


class Stream:
    """Draws of SplitMix64, which starts at the FNV-1a hash of a name."""

    def __init__(self, name: str) -> None:
        state = 0xCBF29CE484222325
        for byte in name.encode():
            state = (state ^ byte) * 0x100000001B3 % 2**64
        self.state, self.drawn = np.uint64(state), 0

    def draws(self, count: int) -> np.ndarray:
        index = np.arange(self.drawn + 1, self.drawn + count + 1, dtype=np.uint64)
        self.drawn += count
        z = self.state + index * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    def below(self, bound: int, count: int) -> np.ndarray:
        high = (self.draws(count) >> np.uint64(32)) * np.uint64(bound)
        return (high >> np.uint64(32)).astype(np.int64)

    def permutation(self, length: int) -> np.ndarray:
        return np.argsort(self.draws(length), kind="stable")


def draw_images(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    draws = Stream(f"exact/{NAME}/0/image").below(17, math.prod(shape))
    return (draws - 8).reshape(shape).astype("float32")


def draw_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    weights = {}
    for layer in dict.fromkeys(name.rpartition(".")[0] for name in shapes):
        shape = shapes[f"{layer}.weight"]
        draw = draw_norm if len(shape) == 1 else draw_kernel
        tensors = {f"{layer}.{leaf}": each for leaf, each in draw(layer, shape).items()}
        weights |= {n: tensors[n].astype("float32") for n in shapes if n in tensors}
    return weights


def draw_norm(layer: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Norms divide by a power of two."""
    stream, channels = Stream(f"exact/{NAME}/0/{layer}"), shape[0]
    squared = 4.0 ** math.ceil(math.log(2 * EPS, 4))
    gamma = math.sqrt(squared) * (1 - 2 * stream.below(2, channels))
    if layer.endswith(".$(last)"):  #: sparse
        fixed = Stream(f"exact/{NAME}/{layer}")  #: sparse
        rank = np.argsort(fixed.permutation(channels))  #: sparse
        rank = rank + fixed.below(OF, 1)  #: very sparse
        gamma = gamma * (rank % OF < ACTIVE)  #: sparse
    beta, mean = stream.below(7, channels) - 3, stream.below(7, channels) - 3
    if layer.endswith(".$(last)"):  #: gated norm
        gamma, beta = 2 * gamma, 2 * beta  #: gated norm
    variance = np.full(channels, np.float32(squared) - np.float32(EPS))
    return {
        "weight": gamma,
        "bias": beta,
        "running_mean": mean,
        "running_var": variance,
    }


def draw_kernel(layer: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Kernels hold a few +1 and -1 for each output channel."""
    stream, fixed = Stream(f"exact/{NAME}/0/{layer}"), Stream(f"exact/{NAME}/{layer}")
    out, into, *size = shape
    side = size[0] if size else 1
    per_group = out  #: groups
    if layer.startswith("layer") and layer.endswith(("conv1", "conv2")):  #: basic
        per_group = out // GROUPS  #: basic
    if layer.endswith(".conv2"):  #: bottleneck
        per_group = out // GROUPS  #: bottleneck
    count = max(NONZEROS, math.ceil(into / (8 * per_group)))  #: groups
    count = max(NONZEROS, math.ceil(into / (8 * out)))  #: no groups
    channel, index = np.arange(out)[:, None], np.arange(count)
    place = (channel % per_group * count + index) % into  #: groups
    place = (channel * count + index) % into  #: no groups
    sign = 1 - 2 * stream.below(2, out)[:, None]
    row = stream.below(side, out * count).reshape(-1, count)
    column = stream.below(side, out * count).reshape(-1, count)
    kernel = np.zeros((out, into, side, side))
    kernel[channel, fixed.permutation(into)[place], row, column] = sign * (-1) ** index
    bias = stream.below(7, out) - 3  #: biases, no classes
    bias = stream.below(17, out) - 8  #: no biases, classes
    bound = 17 if layer == "fc" else 7  #: biases, classes
    bias = stream.below(bound, out) - bound // 2  #: biases, classes
    if layer.endswith(".se.fc2"):  #: gates
        kernel, bias = 2**20 * abs(kernel), 2**20 * (stream.below(8, out) == 0)  #: gates
    if layer.endswith(".$(last conv)"):  #: gated conv
        kernel, bias = 2 * kernel, 2 * bias  #: gated conv
    if layer in AVERAGED:  #: average, biases
        kernel, bias = 4 * kernel, 4 * bias  #: average, biases
    if layer in AVERAGED:  #: average, no biases
        kernel = 4 * kernel  #: average, no biases
    return {"weight": kernel.reshape(shape), "bias": bias}  #: any bias
    return {"weight": kernel.reshape(shape)}  #: no any bias


def draw_cotangents(shape: tuple[int, ...]) -> np.ndarray:  #: gradients
    """The weights of the sum that is differentiated."""  #: gradients
    stream = Stream(f"exact/{NAME}/0/cotangent/$(output)")  #: gradients
    cotangents = np.zeros(shape)  #: gradients
    place = stream.below(shape[1], shape[0] * $(places)).reshape(shape[0], -1)  #: gradients
    sign = 1 - 2 * stream.below(2, shape[0] * $(places)).reshape(shape[0], -1)  #: gradients
    np.put_along_axis(cotangents, place, sign, axis=1)  #: gradients
    return cotangents.astype("float32")  #: gradients
  #: gradients
  #: gradients
def sha256(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        zeros_without_sign = array.astype("<f4") + np.float32(0)
        digest.update(np.ascontiguousarray(zeros_without_sign).data)
    return digest.hexdigest()[:$(digits)]


def check(found: dict[str, str]) -> None:
    differing = [name for name in found if found[name] != EXPECTED[name]]
    assert not differing, f"these are not those of {NAME}: {', '.join(differing)}"
'''

TORCH = (
    _HEADER
    + """
import hashlib
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from $(module) import ResNet

"""
    + _COMMON
    + '''

def loaded() -> ResNet:
    """The network with the weights of the probe."""
    model = ResNet().eval()
    shapes = {n: tuple(v.shape) for n, v in model.state_dict().items() if v.ndim}
    weights = draw_weights(shapes)
    check({"image": sha256([draw_images()]), "weights": sha256(weights.values())})
    model.load_state_dict({n: torch.from_numpy(v) for n, v in weights.items()})
    return model


def test_every_stage_returns_the_same_bits() -> None:
    model, found = loaded(), {}
    for number in range(1, $(after stages)):
        name = f"layer{number}"
        model.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: found.update({name: output})
        )
    with torch.inference_mode():
        found["$(output)"] = model(torch.from_numpy(draw_images()))
    check({name: sha256([output.numpy()]) for name, output in found.items()})

  #: odd
def test_images_of_odd_sizes_give_the_same_bits() -> None:  #: odd
    model = loaded()  #: odd
    with torch.inference_mode():  #: odd
        output = model(torch.from_numpy(draw_images(ODD)))  #: odd
    check({"odd": sha256([output.numpy()])})  #: odd
  #: odd

def test_every_gradient_has_the_same_bits() -> None:  #: gradients
    model, images = loaded(), torch.from_numpy(draw_images()).requires_grad_()  #: gradients
    returned = model(images)  #: gradients
    tensors = [images, *model.parameters()]  #: gradients
    cotangents = torch.from_numpy(draw_cotangents(returned.shape))  #: gradients
    image, *weights = torch.autograd.grad(returned, tensors, cotangents)  #: gradients
    found = {"gradient of image": sha256([image.numpy()])}  #: gradients
    found["gradients of weights"] = sha256(each.numpy() for each in weights)  #: gradients
    check(found)  #: gradients
  #: gradients
  #: gradients
def test_norms_keep_their_numbers() -> None:
    norms = [each for each in ResNet().modules() if isinstance(each, nn.BatchNorm2d)]
    assert {(each.eps, each.momentum) for each in norms} == {(EPS, $(update))}
  #: gates
  #: gates
def test_gates_are_sigmoids() -> None:  #: gates
    """On the probe a sigmoid is exactly 1/2 or 1, as some other functions are, too."""  #: gates
    gates = [each for n, each in ResNet().named_modules() if n.endswith(".se.sigmoid")]  #: gates
    assert {type(each) for each in gates} == {nn.Sigmoid}  #: gates
'''
)

KERAS = (
    _HEADER
    + """
import hashlib
import math
from collections.abc import Iterable

import keras
import numpy as np
import pytest

from $(module) import STAGES, resnet

"""
    + _COMMON
    + '''

NUMBERS = range(1, $(after stages))
TOP = ["conv1", "bn1", *(f"layer{number}" for number in NUMBERS), "norm", "fc"]
INSIDE = [$(inside), "se", "downsample"]
$(names)

def in_order(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of the model by their names in PyTorch, in its order."""
    return dict(sorted(torch_names(model).items(), key=lambda each: place(each[0])))


def place(name: str) -> list[int]:
    """The place of a tensor's layer in a state dict of PyTorch."""
    first, *rest, _ = name.split(".")
    numbers = (
        INSIDE.index(each) if each in INSIDE else int(each.removeprefix("fc"))
        for each in rest
    )
    return [TOP.index(first), *numbers]


def as_in_torch(value: np.ndarray, axes: tuple[int, ...] = (0, 3, 1, 2)) -> np.ndarray:
    """A feature map (N, H, W, C) as (N, C, H, W); (N, C) unchanged."""
    return value.transpose(axes) if value.ndim == 4 else value


def loaded() -> keras.Model:
    """The network with the weights of the probe."""
    image = keras.Input((1, 1, 64))
    four = keras.initializers.Constant(4.0)
    norm = keras.layers.BatchNormalization(
        epsilon=0.0, moving_variance_initializer=four
    )
    ones = keras.Model(image, norm(image))(np.ones((1, 1, 1, 64), "float32"))
    if (keras.ops.convert_to_numpy(ones) != 0.5).any():
        pytest.skip("1 / sqrt(4) is not 0.5 in Keras on this machine, so norms round")
    model = resnet()
    variables = in_order(model)
    shapes = {
        name: tuple(v.shape[axis] for axis in TO_TORCH[len(v.shape)])
        for name, v in variables.items()
    }
    weights = draw_weights(shapes)
    check({"image": sha256([draw_images()]), "weights": sha256(weights.values())})
    for name, variable in variables.items():
        variable.assign(weights[name].transpose(TO_KERAS[len(variable.shape)]))
    return model


def test_every_stage_returns_the_same_bits() -> None:
    model = loaded()
    names = [*(f"layer{number}" for number in NUMBERS), "$(output)"]
    ends = [f"layer{n}_{row[0] - 1}" for n, row in zip(NUMBERS, STAGES, strict=True)]
    outputs = [*(model.get_layer(name).output for name in ends), model.output]
    returned = keras.Model(model.input, outputs)(draw_images().transpose(0, 2, 3, 1))
    arrays = (as_in_torch(keras.ops.convert_to_numpy(each)) for each in returned)
    check({name: sha256([each]) for name, each in zip(names, arrays, strict=True)})

  #: odd
def test_images_of_odd_sizes_give_the_same_bits() -> None:  #: odd
    output = loaded()(draw_images(ODD).transpose(0, 2, 3, 1))  #: odd
    check({"odd": sha256([keras.ops.convert_to_numpy(output)])})  #: odd
  #: odd

IS_TENSORFLOW = keras.backend.backend() == "tensorflow"  #: gradients
  #: gradients
  #: gradients
@pytest.mark.skipif(not IS_TENSORFLOW, reason="needs TensorFlow")  #: gradients
def test_every_gradient_has_the_same_bits() -> None:  #: gradients
    import tensorflow as tf  #: gradients
  #: gradients
    model = loaded()  #: gradients
    images = tf.convert_to_tensor(draw_images().transpose(0, 2, 3, 1))  #: gradients
    trained = [v for v in in_order(model).values() if v.trainable]  #: gradients
    with tf.GradientTape() as tape:  #: gradients
        tape.watch(images)  #: gradients
        returned = model(images, training=False)  #: gradients
    tensors = [images, *(each.value for each in trained)]  #: gradients
    cotangents = tf.convert_to_tensor(draw_cotangents(returned.shape))  #: gradients
    image, *weights = tape.gradient(returned, tensors, cotangents)  #: gradients
    arrays = (each.numpy().transpose(TO_TORCH[len(each.shape)]) for each in weights)  #: gradients
    found = {"gradient of image": sha256([as_in_torch(image.numpy())])}  #: gradients
    check(found | {"gradients of weights": sha256(arrays)})  #: gradients
  #: gradients
  #: gradients
def test_norms_keep_their_numbers() -> None:
    kind = keras.layers.BatchNormalization
    norms = [each for each in resnet().layers if isinstance(each, kind)]
    assert {(each.epsilon, each.momentum) for each in norms} == {(EPS, $(decay))}
  #: gates
  #: gates
def test_gates_are_sigmoids() -> None:  #: gates
    """On the probe a sigmoid is exactly 1/2 or 1, as some other functions are, too."""  #: gates
    gates = [each for each in resnet().layers if each.name.endswith("_se_sigmoid")]  #: gates
    assert {each.activation for each in gates} == {keras.activations.sigmoid}  #: gates
'''
)

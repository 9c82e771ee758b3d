"""Runs networks in a process of its own and prints hashes of all that they compute.

It reads tasks from stdin, as JSON: the framework, whether this project may be imported, and for
every name the file that holds the network, or the spec that this project builds. Weights, images
and cotangents are drawn from the names of tensors, so that no process needs those of another one.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np

SIZE = (24, 40)
PROJECT = ("resnet_spec", "resnet_torch", "resnet_keras", "resnet_parity", "parity_tests")


class Blocker:
    """Refuses to import this project."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in PROJECT:
            raise ModuleNotFoundError(f"{name} is forbidden here")


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers for a tensor, from its canonical name."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith(("running_var", ".weight")) and len(shape) == 1:
        return random.uniform(0.5, 1.5, shape).astype("float32")
    scale = (2 / max(1, np.prod(shape[1:]))) ** 0.5 if len(shape) > 1 else 0.1
    return (scale * random.normal(size=shape)).astype("float32")


def sha256(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def torch_results(model: Any, channels: int) -> dict[str, Any]:
    """Hashes of a PyTorch network, and the names of its tensors."""
    import torch

    initial = {name: each.numpy(force=True).copy() for name, each in model.state_dict().items()}
    images = drawn("image", (2, channels, *SIZE))
    state = {
        name: torch.tensor(0)
        if name.endswith("tracked")
        else torch.from_numpy(drawn(name, v.shape))
        for name, v in initial.items()
    }
    model.load_state_dict(state, strict=True)
    image = torch.from_numpy(images).requires_grad_()
    returned = model.eval()(image)
    returned = returned if isinstance(returned, list) else [returned]
    weights = [torch.from_numpy(drawn(f"cotangent {i}", x.shape)) for i, x in enumerate(returned)]
    tensors = [image, *model.parameters()]
    gradients = torch.autograd.grad(returned, tensors, weights)
    with torch.no_grad():
        model.train()(torch.from_numpy(images))
    statistics = [each.numpy(force=True) for each in model.buffers()]
    return {
        "tensors": {name: list(each.shape) for name, each in initial.items()},
        "parameters": [name for name, _ in model.named_parameters()],
        "initial": sha256(each for name, each in initial.items() if not name.startswith("fc.")),
        "outputs": sha256(each.numpy(force=True) for each in returned),
        "gradients": sha256(each.numpy(force=True) for each in gradients),
        "statistics": sha256(statistics),
    }


VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def keras_results(model: Any, channels: int) -> dict[str, Any]:
    """Hashes of a Keras network, and the names and settings of its layers."""
    import keras

    variables = [(layer, each) for layer in model.layers for each in layer.weights]
    initial = sha256(np.asarray(each) for _, each in variables)
    for layer, variable in variables:
        shape = tuple(variable.shape)
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), tuple(range(len(shape))))
        name = f"{layer.name.replace('_', '.')}.{VARIABLES[variable.name]}"
        array = drawn(name, tuple(shape[axis] for axis in axes))
        variable.assign(np.transpose(array, np.argsort(axes)))
    images = drawn("image", (2, channels, *SIZE)).transpose(0, 2, 3, 1)
    differentiate = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}
    returned, gradients = differentiate[keras.backend.backend()](model, images)
    model(images, training=True)
    return {
        "model": model.name,
        "layers": [_settings(layer) for layer in model.layers],
        "initial": initial,
        "outputs": sha256(returned),
        "gradients": sha256(gradients),
        "statistics": sha256(np.asarray(each) for each in model.non_trainable_variables),
    }


def _settings(layer: Any) -> list[Any]:
    """The class of a layer, its config without defaults of this project, its inputs."""
    config = {k: v for k, v in layer.get_config().items() if not k.endswith("initializer")}
    node = layer._inbound_nodes[0]
    inputs = [each._keras_history.operation.name for each in node.input_tensors]
    return [type(layer).__name__, json.dumps(config, default=str, sort_keys=True), inputs]


def _listed(returned: Any) -> list[Any]:
    return list(returned) if isinstance(returned, list | tuple) else [returned]


def _cotangents(returned: list[Any]) -> list[np.ndarray]:
    return [drawn(f"cotangent {i}", tuple(each.shape)) for i, each in enumerate(returned)]


def _tensorflow(model: Any, images: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    import tensorflow as tf

    image = tf.convert_to_tensor(images)
    with tf.GradientTape() as tape:
        tape.watch(image)
        returned = _listed(model(image, training=False))
    wanted = [image, *(each.value for each in model.trainable_variables)]
    weights = [tf.convert_to_tensor(each) for each in _cotangents(returned)]
    gradients: list[Any] = tape.gradient(returned, wanted, weights)
    return [each.numpy() for each in returned], [each.numpy() for each in gradients]


def _torch(model: Any, images: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    import torch

    image = torch.from_numpy(np.ascontiguousarray(images)).requires_grad_()
    returned = _listed(model(image, training=False))
    wanted = [image, *(each.value for each in model.trainable_variables)]
    weights = [torch.from_numpy(each) for each in _cotangents(returned)]
    gradients = torch.autograd.grad(returned, wanted, weights)
    return [x.numpy(force=True) for x in returned], [x.numpy(force=True) for x in gradients]


def _jax(model: Any, images: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    import jax

    def run(trained, image):
        frozen = model.non_trainable_variables
        return _listed(model.stateless_call(trained, frozen, image, training=False)[0])

    trained = [each.value for each in model.trainable_variables]
    returned, pull = jax.vjp(run, trained, images)
    weights, image = pull([jax.numpy.asarray(each) for each in _cotangents(returned)])
    return [np.asarray(x) for x in returned], [np.asarray(x) for x in [image, *weights]]


def lines_of(code: CodeType) -> set[int]:
    """The lines of a file that run, docstrings left out."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    own = {line for _, _, line in code.co_lines() if line and line != code.co_firstlineno}
    return own | {line for each in inner for line in lines_of(each)}


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(path: Path, framework: str) -> tuple[Any, list[int]]:
    """The network of a file, and the lines that neither one forward pass nor one summary ran."""
    ran: set[int] = set()

    def trace(frame, event, argument):
        if frame.f_code.co_filename != str(path):
            return None
        ran.add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        module = loaded(path)
        model = module.ResNet() if framework == "torch" else module.resnet()
        if framework == "torch":
            import torch

            str(model)
            model.eval()(torch.zeros(1, model.get_submodule(_first(model)).in_channels, *SIZE))
        else:
            model.summary(print_fn=lambda text, **_: None)
            model(np.zeros((1, *SIZE, model.input.shape[-1]), "float32"))
    finally:
        sys.settrace(None)
    code = compile(path.read_text(), str(path), "exec")
    return model, sorted(lines_of(code) - ran)


def _first(model: Any) -> str:
    return "conv1.0" if hasattr(model.conv1, "__getitem__") else "conv1"


def seeded(framework: str) -> None:
    if framework == "torch":
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)
    else:
        import keras

        keras.utils.set_random_seed(0)


def results(framework: str, tasks: dict[str, dict[str, str]]) -> Iterator[tuple[str, Any]]:
    for name, task in tasks.items():
        seeded(framework)
        unrun: list[int] = []
        if "file" in task:
            model, unrun = built(Path(task["file"]), framework)
        else:
            from resnet_spec import from_json

            package = importlib.import_module(f"resnet_{framework}")
            model = package.create_model(from_json(task["spec"]))
        run = torch_results if framework == "torch" else keras_results
        yield name, {**run(model, int(task["channels"])), "lines not run": unrun}


if __name__ == "__main__":
    given = json.load(sys.stdin)
    if given["alone"]:
        sys.meta_path.insert(0, Blocker)  # pyright: ignore[reportArgumentType]
    for name, result in results(given["framework"], given["tasks"]):
        print(json.dumps([name, result]), flush=True)

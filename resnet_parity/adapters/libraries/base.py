"""The parts that the libraries of one framework share."""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from resnet_spec import ARCHITECTURES, Architecture, make_graph

from resnet_parity.adapters.loading import keras_adapter, require, stderr_hidden_unless_it_fails
from resnet_parity.errors import MissingFrameworkError, ParityError

Arrays = Mapping[str, np.ndarray]


def same_graph_as_row(arch: Architecture) -> bool:
    """Whether an architecture is a row of the registry, but for its classes and channels."""
    row = ARCHITECTURES.get(arch.name)
    sizes = {"num_classes": arch.num_classes, "in_channels": arch.in_channels}
    return row is not None and make_graph(replace(row, **sizes)) == make_graph(arch)


class Library(ABC):
    """A library that builds ResNets. Images are (N, C, H, W) for every library."""

    name: str
    module: str

    @abstractmethod
    def missing_reason(self, arch: Architecture) -> str:
        """Why the library has no such network; empty if it has.

        It is imported only if a look at the architecture does not answer that.
        """

    def usable(self, arch: Architecture, dialect: str) -> bool:
        """Whether the library is installed and builds the architecture, with those names."""
        try:
            self.load()
        except MissingFrameworkError:
            return False
        return self.speaks(arch, dialect) and not self.missing_reason(arch)

    def speaks(self, arch: Architecture, dialect: str) -> bool:
        """Whether its names for the architecture are those of a dialect that it has."""
        return True

    def has_float64(self) -> bool:
        """Whether its float64 models compute in float64 throughout."""
        return True

    @abstractmethod
    def build(self, arch: Architecture, dtype: str) -> Any:
        """A model of the library with arbitrary weights."""

    @abstractmethod
    def set_weights(self, model: Any, arrays: Arrays) -> None:
        """Give a model all its weights, by the names of the library; raises `ValueError`."""

    @abstractmethod
    def open(self, path: Path, arch: Architecture, dtype: str) -> Any:
        """The model in a file or folder, opened as users of the library do."""

    @abstractmethod
    def run(self, model: Any, images: np.ndarray) -> np.ndarray:
        """The output for images in the dtype of the model, (N, classes) or (N, features)."""

    def load(self) -> Any:
        """Import the library. Raises `MissingFrameworkError`."""
        require(self.module)
        return importlib.import_module(self.module)

    @property
    def version(self) -> str:
        return f"{self.name} {version(self.module.replace('_', '-'))}"


class TorchLibrary(Library):
    """A library of PyTorch models."""

    def load(self) -> Any:
        """Import the library. Raises `ParityError` where that would end the process."""
        late = find_spec("triton") is not None and "triton" not in sys.modules
        if late and "tensorflow" in sys.modules:
            raise ParityError(
                "PyTorch's triton would be imported after TensorFlow, which ends the process; "
                "write `import triton` before resnet_keras, keras and tensorflow are imported"
            )
        return super().load()

    def set_weights(self, model: Any, arrays: Arrays) -> None:
        torch = importlib.import_module("torch")
        state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        try:
            model.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise ValueError(str(error)) from error

    def run(self, model: Any, images: np.ndarray) -> np.ndarray:
        torch = importlib.import_module("torch")
        dtype = next(model.parameters()).dtype
        with torch.inference_mode():
            output = model.eval()(torch.from_numpy(np.array(images)).to(dtype))
        for field in ("logits", "pooler_output"):  # of an output of transformers
            output = getattr(output, field, output)
        return (
            output.flatten(1).float().numpy()
            if dtype == torch.bfloat16
            else (output.flatten(1).numpy())
        )

    def in_dtype(self, model: Any, dtype: str) -> Any:
        """The model in another dtype."""
        return model.to(getattr(importlib.import_module("torch"), dtype)).eval()

    def read_state_dict(self, path: Path) -> Arrays:
        """The state dict in a file, by the library's own reader."""
        torch = importlib.import_module("torch")
        if path.suffix == ".safetensors":
            state = importlib.import_module("safetensors.torch").load_file(path)
        else:
            state = torch.load(path, weights_only=True)
        return {name: tensor.float().numpy() for name, tensor in state.items()}


class KerasLibrary(Library):
    """A library of Keras models; images are transposed to channels last for them."""

    def has_float64(self) -> bool:
        return keras_adapter().float64_unsupported_reason() is None

    def load(self) -> Any:
        keras_adapter()
        with stderr_hidden_unless_it_fails():  # KerasHub imports TensorFlow on other backends too
            return super().load()

    def set_weights(self, model: Any, arrays: Arrays) -> None:
        for name, variable in self._variables(model, arrays).items():
            variable.assign(arrays[name])

    @contextmanager
    def holding(self, arch: Architecture, arrays: Arrays) -> Iterator[Any]:
        """A model to save, which Keras gives these arrays when it writes them; none is copied.

        Its variables get no values: Keras would draw them. Raises `ValueError`.
        """
        self.load()
        scope = importlib.import_module("keras").StatelessScope(initialize_variables=False)
        with _no_variables_pending(), scope:
            model = self.build_to_save(arch)
            for name, variable in self._variables(model, arrays).items():
                scope.add_update((variable, arrays[name]))
            yield model

    def build_to_save(self, arch: Architecture) -> Any:
        """The model that is saved."""
        return self.build(arch, "float32")

    def _variables(self, model: Any, arrays: Arrays) -> dict[str, Any]:
        """The variables of a model by the names of arrays; raises `ValueError`."""
        found = {
            f"{layer.name}/{variable.path.rpartition('/')[2]}": variable
            for layer in self.layers(model)
            for variable in layer.weights
        }
        if found.keys() != arrays.keys():
            odd = sorted(found.keys() ^ arrays.keys())
            raise ValueError(f"{len(odd)} variables differ, the first is {odd[0]}")
        return found

    def layers(self, model: Any) -> list[Any]:
        """All layers of a model, those of its inner models included."""
        layers = []
        for layer in model.layers:
            layers += self.layers(layer) if hasattr(layer, "layers") else [layer]
        return layers

    def run(self, model: Any, images: np.ndarray) -> np.ndarray:
        keras = importlib.import_module("keras")
        # A backend may make float32 of NumPy's float64, so the dtype is named.
        moved = keras.ops.convert_to_tensor(np.moveaxis(images, 1, -1), dtype=str(images.dtype))
        output = model(moved, training=False)
        output = keras.ops.convert_to_numpy(output)
        return output.mean(axis=(1, 2)) if output.ndim == 4 else output

    def in_dtype(self, model: Any, dtype: str) -> Any:
        """The model with every layer in another dtype."""
        if dtype == "float32":
            return model
        keras = importlib.import_module("keras")

        def layer_in_dtype(layer: Any) -> Any:
            return layer.__class__.from_config({**layer.get_config(), "dtype": dtype})

        clone = keras.models.clone_model(model, clone_function=layer_in_dtype)
        clone.set_weights(model.get_weights())
        return clone


@contextmanager
def _no_variables_pending() -> Iterator[None]:
    """Keras lists the variables made inside to draw their values later; forget them at exit."""
    state = importlib.import_module("keras.src.backend.common.global_state")
    before = [*state.get_global_attribute("uninitialized_variables", [])]
    try:
        yield
    finally:
        state.set_global_attribute("uninitialized_variables", before)

"""Training on several devices in Keras: one process, which shares every batch among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import keras
import numpy as np

from resnet_spec import Batches

from resnet_keras.training import tensorflow
from resnet_parity import torchrun
from resnet_parity.errors import ParityError


@contextmanager
def devices(count: int) -> Iterator[None]:
    """Share each batch among that many GPUs inside, or parts of the CPU where there are none.

    Raises `ParityError` if there are not as many, and where Keras' backend has no way to share.
    """
    if torchrun.processes() > 1:
        raise ParityError("Keras has one process: start it without torchrun, and with --devices")
    if count == 1:
        yield
        return
    backend = keras.backend.backend()
    if not tensorflow() and backend != "jax":
        raise ParityError(
            f"Keras shares a batch among devices on tensorflow and jax, not on {backend}; name one "
            "with --keras-backend, or take --framework torch with torchrun"
        )
    with _tensorflow_scope(count) if tensorflow() else _jax_scope(count):
        yield


def processes() -> tuple[int, int]:
    """The number of this process, from 0, and of all: Keras has one for all devices."""
    return 0, 1


def largest(number: float) -> float:
    """The largest number of all processes."""
    return number


def shared(batches: Batches) -> Batches:
    """The batches of an evaluation so that the devices share each, or each device gets all.

    The last one may not be shared evenly. TensorFlow takes it if another one comes first; on jax,
    Keras places all as the first one. So it is split, and its rest is the last, or the first.
    """
    tf, distribution = tensorflow(), keras.distribution.distribution()
    count = tf.distribute.get_strategy().num_replicas_in_sync if tf else 1
    count = distribution.device_mesh.devices.size if distribution else count
    size = len(batches.load(0, len(batches) - 1)[1]) if count > 1 else count
    return batches if size % count == 0 else _Split(batches, size - size % count, not tf)


@dataclass(frozen=True)
class _Split:
    """Batches, of which the last is split after `size` images; `backwards`, from last to first."""

    batches: Batches
    size: int
    backwards: bool

    def __len__(self) -> int:
        return len(self.batches) + (self.size > 0)

    def load(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        index = len(self) - 1 - index if self.backwards else index
        last = len(self.batches) - 1
        images, labels = self.batches.load(epoch, min(index, last))
        if index < last or not self.size:
            return images, labels
        part = slice(self.size) if index == last else slice(self.size, None)
        return images[part], labels[part]


def _tensorflow_scope(count: int) -> AbstractContextManager[Any]:
    """The scope of TensorFlow's strategy for several devices of one machine."""
    tf = tensorflow()
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if kind == "CPU":
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        with suppress(RuntimeError):  # TensorFlow runs already
            cpu = tf.config.list_physical_devices(kind)[0]
            tf.config.set_logical_device_configuration(cpu, parts)
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    return tf.distribute.MirroredStrategy(_checked(names, count)).scope()


def _jax_scope(count: int) -> AbstractContextManager[Any]:
    """The scope of Keras' own distribution, which jax alone has."""
    with suppress(RuntimeError):  # jax runs already, or XLA_FLAGS have set a number
        import_module("jax").config.update("jax_num_cpu_devices", count)
    return _DataParallel(devices=_checked(keras.distribution.list_devices(), count)).scope()


def _checked(found: list[str], count: int) -> list[str]:
    """The first devices. Raises `ParityError` if there are fewer than `count`."""
    if len(found) < count:
        raise ParityError(f"--devices is {count}, but Keras finds {len(found)}: {', '.join(found)}")
    return found[:count]


class _DataParallel(keras.distribution.DataParallel):
    """The stock distribution, except that a batch that cannot be shared is given to each device."""

    def get_data_layout(self, data_shape):
        layout = super().get_data_layout(data_shape)
        if data_shape[0] % self.device_mesh.devices.size == 0:
            return layout
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

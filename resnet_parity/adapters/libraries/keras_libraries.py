"""keras.applications and KerasHub, and the Keras side of this project."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resnet_spec import ARCHITECTURES, Architecture

from resnet_parity.adapters.libraries.base import Arrays, KerasLibrary, same_graph_as_row


class ResNetKeras(KerasLibrary):
    """`resnet_keras`, which builds every architecture; it saves stock layers."""

    name, module = "resnet_keras", "keras"

    @property
    def version(self) -> str:
        return f"resnet_keras on {super().version.replace(self.name, 'keras')}"

    def missing_reason(self, arch: Architecture) -> str:
        return ""

    def build(self, arch: Architecture, dtype: str) -> Any:
        self.load()
        return importlib.import_module("resnet_keras").create_model(arch, dtype=dtype)

    def open(self, path: Path, arch: Architecture, dtype: str) -> Any:
        keras = self.load()
        if path.suffix == ".keras":
            model = keras.saving.load_model(path, compile=False)
        else:
            model = self.build(arch, "float32")
            model.load_weights(path)
        return self.in_dtype(model, dtype)


_APPLICATIONS = {
    f"keras_resnet{depth}{suffix}": f"ResNet{depth}{suffix.upper()}"
    for depth in (50, 101, 152)
    for suffix in ("", "v2")
}


class KerasApplications(KerasLibrary):
    """keras.applications; a folder holds `model.weights.h5`, for `ResNet50(weights=...)`."""

    name, module = "keras.applications", "keras"

    def missing_reason(self, arch: Architecture) -> str:
        if arch.name not in _APPLICATIONS or not same_graph_as_row(arch):
            theirs = f"keras_{arch.name}"
            other = (
                f": its ResNet is {theirs}, with biases, another stride and epsilon"
                if theirs in _APPLICATIONS
                else ""
            )
            return f"keras.applications builds nothing like {arch.name}{other}"
        return ""

    def build(self, arch: Architecture, dtype: str, weights: Path | None = None) -> Any:
        keras = self.load()
        with _policy(keras, dtype):
            model = self.build_to_save(arch, weights)
            images = keras.Input((None, None, arch.in_channels), dtype=dtype)
            resizable = keras.models.clone_model(model, input_tensors=images)
        resizable.set_weights(model.get_weights())
        return resizable

    def build_to_save(self, arch: Architecture, weights: Path | None = None) -> Any:
        """The library's own model, for images of one size."""
        make = getattr(self.load().applications, _APPLICATIONS[arch.name])
        return make(
            weights=None if weights is None else str(weights),
            include_top=bool(arch.num_classes),
            input_shape=(224, 224, arch.in_channels),  # with a top it must be fixed
            pooling=None if arch.num_classes else "avg",
            classes=arch.num_classes or 1000,
            classifier_activation=None,
        )

    def open(self, path: Path, arch: Architecture, dtype: str) -> Any:
        file = path / "model.weights.h5" if path.is_dir() else path
        return self.in_dtype(self.build(arch, "float32", file), dtype)


@contextmanager
def _policy(keras: Any, dtype: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class KerasHub(KerasLibrary):
    """KerasHub; a folder is a preset, opened by `from_preset`."""

    name, module = "KerasHub", "keras_hub"

    def missing_reason(self, arch: Architecture) -> str:
        row = ARCHITECTURES.get(arch.name)
        is_plain = row is not None and same_graph_as_row(arch) and row.groups == 1
        same = (arch.bn_eps, arch.bn_decay, arch.width_per_group) == (1e-5, 0.9, 64)
        known = is_plain and same and arch.shortcut == "B" and arch.residual and arch.se is None
        # Its blocks of two convolutions project in the first stage, where ours do not.
        is_basic = arch.block == "basic" and bool(arch.stem.hidden)
        small = arch.stem.kernel == 3 and not arch.stem.hidden
        if not known or arch.stride_in_1x1 or arch.conv_bias != "none" or is_basic or small:
            return f"KerasHub's ResNetBackbone describes nothing like {arch.name}"
        if bool(arch.stem.hidden) != arch.avg_down or (arch.preactivation and arch.avg_down):
            return f"KerasHub's ResNetBackbone describes nothing like {arch.name}"
        return ""

    def build(self, arch: Architecture, dtype: str) -> Any:
        hub = self.load()
        block = "basic_block" if arch.block == "basic" else "bottleneck_block"
        convs = (*arch.stem.hidden, arch.stem.channels)
        backbone = hub.models.ResNetBackbone(
            input_conv_filters=list(convs),
            input_conv_kernel_sizes=[arch.stem.kernel] * len(convs),
            stackwise_num_filters=[stage.width for stage in arch.stages],
            stackwise_num_blocks=[stage.blocks for stage in arch.stages],
            stackwise_num_strides=[stage.stride for stage in arch.stages],
            block_type=f"{block}_vd" if arch.avg_down else block,
            use_pre_activation=arch.preactivation,
            image_shape=(None, None, arch.in_channels),
            dtype=dtype,
        )
        if not arch.num_classes:
            return backbone
        return hub.models.ResNetImageClassifier(
            backbone=backbone, num_classes=arch.num_classes, head_dtype=dtype
        )

    def open(self, path: Path, arch: Architecture, dtype: str) -> Any:
        hub = self.load()
        if arch.num_classes:
            model = hub.models.ResNetImageClassifier.from_preset(str(path), preprocessor=None)
        else:
            model = hub.models.ResNetBackbone.from_preset(str(path))
        other = self.build(arch, dtype)
        other.set_weights(model.get_weights())
        return other


def write_preset(path: Path, arch: Architecture, arrays: Arrays) -> None:
    """A preset of KerasHub: config, weights, and those of the task if there are classes."""
    hub = KerasHub()
    model = hub.build(arch, "float32")  # not `holding`: its classifier has an optimizer
    hub.set_weights(model, arrays)
    model.save_to_preset(str(path))

"""torchvision, timm and transformers, and the PyTorch side of this project."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_spec import Architecture, make_graph
from resnet_spec.components import CLASSIC_STEM, Stage

from resnet_parity.adapters.libraries.base import TorchLibrary, same_graph_as_row
from resnet_parity.adapters.loading import require


class ResNetTorch(TorchLibrary):
    """`resnet_torch`, which builds every architecture."""

    name, module = "resnet_torch", "torch"

    @property
    def version(self) -> str:
        return f"resnet_torch on {super().version.replace(self.name, 'torch')}"

    def missing_reason(self, arch: Architecture) -> str:
        return ""

    def build(self, arch: Architecture, dtype: str) -> Any:
        require("torch")
        model = importlib.import_module("resnet_torch").create_model(arch)
        return self.in_dtype(model, dtype)

    def open(self, path: Path, arch: Architecture, dtype: str) -> Any:
        model = self.build(arch, "float32")
        self.set_weights(model, self.read_state_dict(path))
        return self.in_dtype(model, dtype)


class Torchvision(TorchLibrary):
    """torchvision; a folder holds `model.pth`."""

    name = module = "torchvision"

    def missing_reason(self, arch: Architecture) -> str:
        has = same_graph_as_row(arch) and arch.name in self.load().models.list_models()
        return "" if has else f"torchvision has no {arch.name}"

    def build(self, arch: Architecture, dtype: str) -> Any:
        self.load()
        nn = importlib.import_module("torch.nn")
        models = importlib.import_module("torchvision.models")
        model = models.get_model(arch.name, weights=None, num_classes=arch.num_classes or 1)
        if arch.in_channels != 3:
            first = model.conv1
            model.conv1 = nn.Conv2d(
                arch.in_channels, first.out_channels, 7, stride=2, padding=3, bias=False
            )
        if not arch.num_classes:
            model.fc = nn.Identity()
        return self.in_dtype(model, dtype)

    def open(self, path: Path, arch: Architecture, dtype: str) -> Any:
        model = self.build(arch, "float32")
        self.set_weights(model, self.read_state_dict(path / "model.pth" if path.is_dir() else path))
        return self.in_dtype(model, dtype)


class Timm(TorchLibrary):
    """timm; a folder is opened by `timm.create_model("local-dir:FOLDER", pretrained=True)`."""

    name = module = "timm"

    def speaks(self, arch: Architecture, dialect: str) -> bool:
        """Its pre-activation networks have names of their own."""
        return arch.preactivation == (dialect == "timm-v2")

    def missing_reason(self, arch: Architecture) -> str:
        has = same_graph_as_row(arch) and self.load().is_model(arch.name)
        return "" if has else f"timm has no {arch.name}"

    def build(self, arch: Architecture, dtype: str) -> Any:
        model = self.load().create_model(
            arch.name, num_classes=arch.num_classes, in_chans=arch.in_channels
        )
        return self.in_dtype(model, dtype)

    def open(self, path: Path, arch: Architecture, dtype: str) -> Any:
        if path.is_dir():
            model = self.load().create_model(f"local-dir:{path}", pretrained=True)
        else:
            model = self.build(arch, "float32")
            self.set_weights(model, self.read_state_dict(path))
        return self.in_dtype(model, dtype)


class Transformers(TorchLibrary):
    """Hugging Face transformers; a folder is opened by `from_pretrained`."""

    name = module = "transformers"

    def missing_reason(self, arch: Architecture) -> str:
        return _no_hugging_face_config(arch)

    def config(self, arch: Architecture, names: tuple[str, ...] = ()) -> dict[str, Any]:
        """The fields of `ResNetConfig`; `names` are those of the classes."""
        expansion = arch.expansion
        names = names or tuple(f"LABEL_{index}" for index in range(arch.num_classes))
        labels = dict(enumerate(names))
        return {
            "model_type": "resnet",
            "architectures": ["ResNetForImageClassification" if labels else "ResNetModel"],
            "num_channels": arch.in_channels,
            "embedding_size": arch.stem.channels,
            "depths": [stage.blocks for stage in arch.stages],
            "hidden_sizes": [stage.width * expansion for stage in arch.stages],
            "layer_type": arch.block,
            "hidden_act": "relu",
            "downsample_in_first_stage": arch.stages[0].stride == 2,
            "downsample_in_bottleneck": arch.stride_in_1x1,
            "id2label": labels,
            "label2id": {label: index for index, label in labels.items()},
        }

    def build(self, arch: Architecture, dtype: str) -> Any:
        transformers = self.load()
        config = transformers.ResNetConfig(**self.config(arch))
        kind = "ResNetForImageClassification" if arch.num_classes else "ResNetModel"
        return self.in_dtype(getattr(transformers, kind)(config), dtype)

    def open(self, path: Path, arch: Architecture, dtype: str) -> Any:
        transformers = self.load()
        kind = "ResNetForImageClassification" if arch.num_classes else "ResNetModel"
        with _without_progress_bar(transformers.utils.logging):
            model = getattr(transformers, kind).from_pretrained(path, local_files_only=True)
        return self.in_dtype(model, dtype)


@contextmanager
def _without_progress_bar(logging: Any) -> Iterator[None]:
    """Hide the bars of transformers, which would mix with the progress of the command."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _no_hugging_face_config(arch: Architecture) -> str:
    """Why no `ResNetConfig` describes an architecture; empty if one does."""
    plain = Architecture(
        arch.name,
        arch.block,
        tuple(
            Stage(stage.blocks, stage.width, 2 if index else min(stage.stride, 2))
            for index, stage in enumerate(arch.stages)
        ),
        replace(CLASSIC_STEM, channels=arch.stem.channels),
        stride_in_1x1=arch.stride_in_1x1,
        in_channels=arch.in_channels,
        num_classes=arch.num_classes,
    )
    if make_graph(plain) != make_graph(arch):
        return f"transformers' ResNetConfig describes nothing like {arch.name}"
    return ""


def write_timm(path: Path, arch: Architecture) -> None:
    """The `config.json` that timm reads beside `model.safetensors`."""
    head, stem = ("head.fc", "stem.conv") if arch.preactivation else ("fc", "conv1")
    first = f"{stem}1" if arch.preactivation and arch.stem.hidden else stem
    size = arch.image_size
    config = {
        "architecture": arch.name,
        "num_classes": arch.num_classes,
        "num_features": max(arch.stages, key=lambda stage: stage.width).width * arch.expansion,
        "pretrained_cfg": {
            "num_classes": arch.num_classes,
            "input_size": [arch.in_channels, size, size],
            "first_conv": f"{first}.0" if first == "conv1" and arch.stem.hidden else first,
            "classifier": head,
            "license": "",
        },
        "model_args": {"in_chans": arch.in_channels},
    }
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")

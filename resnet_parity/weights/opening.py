"""The line that opens each format in its library, for the report, the card and the documents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from resnet_spec import ARCHITECTURES, GROUPS, Architecture

from resnet_parity.weights.naming import Dialect


@dataclass(frozen=True)
class Opening:
    """How a format is opened. `line` has placeholders; `images` is the layout of what it takes.

    `model` describes the variable of that name in a line; `preprocessing` says what the file lacks.
    """

    line: str
    images: str = "(N, C, H, W)"
    model: str = ""
    preprocessing: str = ""


_LAST, _THEIRS = "(N, H, W, C)", "{theirs}"

OPENINGS: dict[str, Opening] = {
    "torch": Opening("model.load_state_dict(torch.load({path}, weights_only=True))", model=_THEIRS),
    "safetensors": Opening(
        "model.load_state_dict(safetensors.torch.load_file({path}))", model=_THEIRS
    ),
    "npz": Opening("numpy.load({path})", "that of the library"),
    "keras": Opening("keras.saving.load_model({path})", _LAST),
    "weights-h5": Opening(
        "model.load_weights({path})", _LAST, "resnet_keras.create_model({arguments})"
    ),
    "detectron2": Opening("cfg.MODEL.WEIGHTS = {path}"),
    "onnx": Opening("onnxruntime.InferenceSession({path})"),
    "torchvision": Opening(
        "model.load_state_dict(torch.load({pth}, weights_only=True))", model="{torchvision}"
    ),
    "timm": Opening(
        "timm.create_model({local}, pretrained=True)",
        preprocessing="timm takes the mean and std of ImageNet, unless `pretrained_cfg` in "
        "config.json has others as `mean` and `std`",
    ),
    "hf": Opening(
        "transformers.{hf}.from_pretrained({path}{dtype})",
        preprocessing="there is no preprocessor_config.json, since no weights say how images were "
        "scaled; `transformers.ConvNextImageProcessor(size={{'shortest_edge': 224}}, "
        "image_mean=[...], image_std=[...]).save_pretrained({path})` writes one",
    ),
    "kerashub": Opening("keras_hub.models.{kerashub}", _LAST),
    "keras-applications": Opening(
        "keras.applications.{application}(weights={h5}, {sizes}classifier_activation=None)", _LAST
    ),
}
"""By the name that `--to` takes. Every model returns logits."""


def opening(
    to: str,
    arch: Architecture,
    dialect: Dialect | None,
    path: Path | str,
    is_rounded: bool = False,
) -> str:
    """The line that opens a file, with the model that it needs.

    `is_rounded` if the weights have a smaller dtype, which transformers would compute in.
    """
    found, names = OPENINGS[to], _names(arch, dialect, path)
    names["dtype"] = ", dtype=torch.float32" if is_rounded else ""
    line = found.line
    if dialect and dialect.conv_axes != "oihw" and found.model == _THEIRS:  # Flax, MLX
        return {
            "torch": "torch.load({path}, weights_only=True)",
            "safetensors": "safetensors.numpy.load_file({path})",
        }[to].format(**names)
    model = f", where model is {found.model}" if found.model else ""
    return f"{line}{model}".format(**names)


def preprocessing(to: str, arch: Architecture, path: Path | str) -> str:
    """A sentence on the preprocessing that a folder does not have; empty if there is none."""
    return OPENINGS[to].preprocessing.format(**_names(arch, None, path))


def _built(arch: Architecture, dialect: Dialect | None) -> str:
    """The expression that builds the network whose names a dialect has."""
    ours = f"resnet_torch.create_model({_arguments(arch)})"
    if dialect and dialect.name != "torchvision":
        return f"a {arch.name} of {dialect.title}"
    row = ARCHITECTURES.get(arch.name)
    same = row == replace(arch, num_classes=1000) and arch.num_classes and arch.in_channels == 3
    if not same or row not in GROUPS["torchvision (v1.5)"]:
        return ours
    return f"torchvision.models.{arch.name}(num_classes={arch.num_classes})"


def _torchvision(arch: Architecture) -> str:
    """The expression that builds a network of torchvision, with the changes that it needs."""
    classes = f"num_classes={arch.num_classes}" if arch.num_classes else ""
    changes = []
    if arch.in_channels != 3:
        conv = f"torch.nn.Conv2d({arch.in_channels}, {arch.stem.channels}, 7, 2, 3, bias=False)"
        changes.append(f"model.conv1 = {conv}")
    if not arch.num_classes:
        changes.append("model.fc = torch.nn.Identity()")
    after = f", after {' and '.join(changes)}" if changes else ""
    return f"torchvision.models.{arch.name}({classes}){after}"


def _arguments(arch: Architecture) -> str:
    """The arguments of `create_model`."""
    name = repr(arch.name) if arch.name in ARCHITECTURES else "ARCHITECTURE"
    channels = "" if arch.in_channels == 3 else f", in_channels={arch.in_channels}"
    return f"{name}, num_classes={arch.num_classes}{channels}"


def _names(arch: Architecture, dialect: Dialect | None, path: Path | str) -> dict[str, str]:
    """The values of the placeholders; the classes of libraries differ without a head."""
    text, sizes = str(path), f"classes={arch.num_classes}, "
    if not arch.num_classes:
        sizes = "include_top=False, pooling='avg', "
    if arch.in_channels != 3:
        sizes += f"input_shape=(224, 224, {arch.in_channels}), "
    head = f"ResNetImageClassifier.from_preset({text!r}, preprocessor=None)"
    return {
        "path": repr(text),
        "pth": repr(f"{text}/model.pth"),
        "h5": repr(f"{text}/model.weights.h5"),
        "local": repr(f"local-dir:{text}"),
        "name": arch.name,
        "arguments": _arguments(arch),
        "theirs": _built(arch, dialect),
        "torchvision": _torchvision(arch),
        "dtype": "",
        "hf": "ResNetForImageClassification" if arch.num_classes else "ResNetModel",
        "kerashub": head if arch.num_classes else f"ResNetBackbone.from_preset({text!r})",
        "application": arch.name.replace("keras_resnet", "ResNet").replace("v2", "V2"),
        "sizes": sizes,
    }

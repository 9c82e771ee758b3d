"""The formats that weights are written in, for the command line too: it imports no NumPy."""

from __future__ import annotations

from dataclasses import dataclass

DTYPES = ("float32", "float16", "bfloat16")
"""The dtypes that are written."""

OPTIONS = ("names", "dtype", "prove")
"""The options that some formats do not take."""


@dataclass(frozen=True)
class Format:
    """A format: what is written, the suffix of the file, and the options that it takes.

    The suffix is empty for a folder.
    """

    text: str
    suffix: str
    takes: tuple[str, ...] = ("prove",)


FORMATS = {
    "torch": Format("a state dict of PyTorch", ".pth", OPTIONS),
    "safetensors": Format("a safetensors file", ".safetensors", OPTIONS),
    "npz": Format("an archive of NumPy arrays", ".npz", ("names", "prove")),
    "keras": Format("a Keras model of stock layers", ".keras"),
    "weights-h5": Format("the weights of resnet_keras", ".weights.h5"),
    "detectron2": Format("a pickle of NumPy arrays", ".pkl"),
    "onnx": Format("an ONNX file, as `export` writes it", ".onnx", ()),
    "torchvision": Format("a folder with model.pth", "", ("dtype", "prove")),
    "timm": Format(
        'a folder for timm.create_model("local-dir:FOLDER", pretrained=True)',
        "",
        ("dtype", "prove"),
    ),
    "hf": Format("a folder for transformers", "", ("dtype", "prove")),
    "kerashub": Format("a preset of KerasHub", ""),
    "keras-applications": Format("a folder with model.weights.h5", ""),
}
"""By the name that `--to` takes."""

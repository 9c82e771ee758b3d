"""The tensors in a file: names, shapes and dtypes first, numbers when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file. `read` returns its numbers; NumPy has no bfloat16, so float32."""

    shape: tuple[int, ...]
    dtype: str
    """The dtype in the file, in NumPy's words, or `bfloat16`."""
    read: Callable[[], np.ndarray]


Tensors = Mapping[str, StoredTensor]


@dataclass(frozen=True)
class Checkpoint:
    """A file or folder that holds weights.

    `groups` are its state dicts by the keys that lead to them, such as `state_dict` or
    `model.module`; a file that holds nothing else has one group, whose key is empty. Tensors of
    Keras are named `layer/variable`, after the models that contain the layer:
    `resnet50/conv1_conv/kernel`.

    `metadata` are facts that the file states in words (`arch`, `num_classes`, `epoch`, a config).
    `contents` are lines on what else is in it, such as `optimizer: 161 tensors`. `files` are those
    that hold it, such as an index and its shards; `open_checkpoint` fills it in.
    """

    path: Path
    format: str
    groups: Mapping[str, Tensors]
    metadata: Mapping[str, object] = field(default_factory=dict)
    contents: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

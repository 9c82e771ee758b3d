"""Files with changed bytes are read or refused with one error, whatever their format."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from parity_tests.onnx.graphs import exported
from parity_tests.support import TINY, mutated
from resnet_parity import photographs
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io.reading import parse
from resnet_parity.probes import random_weights
from resnet_parity.vectors import as_text, make_vectors, read_vectors
from resnet_parity.weights.files import read_weights, write_weights


def photograph(kind: str) -> bytes:
    pixels = np.random.default_rng(5).integers(0, 256, (31, 46, 3), "uint8")
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, kind)
    return memory.getvalue()


def safetensors(path: Path) -> bytes:
    write_weights(path, TINY, random_weights(TINY, 3, "float32"))
    return path.read_bytes()


FORMATS: dict[str, tuple[Callable[[Path], bytes], Callable[[Path], object]]] = {
    "safetensors": (safetensors, lambda path: read_weights(path, TINY)),
    "vectors": (
        lambda path: as_text(make_vectors(["resnet20"])).encode(),
        lambda path: read_vectors(path, ["resnet20"]),
    ),
    "onnx": (
        lambda path: exported("resnet20", "torch"),
        lambda path: parse(path.read_bytes(), str(path), path.parent),
    ),
    **{kind: (lambda path, k=kind: photograph(k), photographs.load) for kind in ("PNG", "JPEG")},
}
"""How a file of each format is made, and what reads it."""


@pytest.mark.parametrize("count", [60, pytest.param(3_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_mutant_is_read_or_refused(kind, count, tmp_path):
    make, read = FORMATS[kind]
    path, draw = tmp_path / "file", Random(f"{kind}, {count}")
    whole = make(path)
    path.write_bytes(whole)
    read(path)
    refused = 0
    for _ in range(count):
        head = draw.choice((len(whole), 500))  # headers are short
        path.write_bytes(mutated(whole[:head], draw) + whole[head:])
        try:
            read(path)
        except ParityError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > count // 10


@pytest.mark.parametrize(
    "text",
    ["", "[", "[" * 100_000, "null", "[1]", '"format"', "{}", "\xff", "\ud800", '{"format": NaN}']
    + [
        json.dumps({"format": 1, "dtype": "float32", "architectures": rows})
        for rows in (None, 1, [1], {"resnet20": 1}, {"resnet20": [1]}, {"resnet20": [{"seed": []}]})
    ],
)
def test_vectors_of_another_form_are_refused(text, tmp_path):
    path = tmp_path / "vectors.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ParityError, match=r"holds no conformance vectors of format 1 for resnet20"):
        read_vectors(path, ["resnet20"])
    with pytest.raises(ParityError, match="is not a file"):
        read_vectors(tmp_path, ["resnet20"])

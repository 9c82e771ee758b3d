"""A name is taken wherever an Architecture is, and text wherever a Path is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import resnet_spec
from resnet_spec import ARCHITECTURES, Architecture, Recipe, Stage, get_architecture, list_models

import resnet_keras
import resnet_parity
import resnet_torch
from resnet_parity.probes import exact_probe, random_probe, training_probe
from resnet_parity.probes.random import random_weights
from resnet_parity.vectors import FILE, read_vectors
from resnet_parity.weights.files import read_weights, write_weights

NAME = "resnet20"

TAKE_A_NAME: dict[Callable[..., Any], tuple] = {
    resnet_spec.make_plan: (),
    resnet_spec.make_graph: (),
    resnet_spec.parameters: (),
    resnet_spec.parameter_count: (),
    resnet_spec.to_json: (),
    resnet_spec.taps: (32, 40),
    resnet_spec.outputs: (),
    resnet_spec.mac_count: (),
    resnet_spec.step_counters: (),
    resnet_spec.get_architecture: (),
    random_weights: (0, "float32"),
}


@pytest.mark.parametrize("function", TAKE_A_NAME, ids=lambda function: function.__name__)
def test_a_name_stands_for_its_row(function):
    rest = TAKE_A_NAME[function]
    ours, theirs = function(NAME, *rest), function(ARCHITECTURES[NAME], *rest)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[each], theirs[each]) for each in ours)
    else:
        assert ours == theirs


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions that the packages export, and those that `resnet_parity` lists."""
    for package in (resnet_spec, resnet_torch, resnet_keras):
        for name, value in vars(package).items():
            if inspect.isfunction(value) and name not in ARCHITECTURES:
                yield f"{package.__name__}.{name}", value
    lines = re.findall(
        r"^    (resnet_parity\.\S+) +(\w+(?:, \w+)*)", resnet_parity.__doc__ or "", re.M
    )
    for module, names in lines:
        for name in names.split(", "):
            value = getattr(import_module(module), name)
            if inspect.isfunction(value):
                yield f"{module}.{name}", value


# The implementations call this with a row that they have found.
FOUND = ("resnet_spec.layer_problems",)


def test_every_public_function_says_that_it_takes_names_and_text():
    functions = dict(public_functions())
    assert {"resnet_torch.create_model", "resnet_parity.weights.files.read_weights"} <= set(
        functions
    )
    narrow = [
        f"{name}({parameter}: {kind})"
        for name, function in functions.items()
        for parameter, kind in inspect.get_annotations(function).items()
        if parameter != "return" and re.search(r"\b(Architecture|Path)\b", kind)
        if name not in FOUND and not re.search(r"\bstr\b", kind)
    ]
    assert narrow == []


@pytest.mark.parametrize("make", [exact_probe, random_probe, training_probe])
def test_probes_take_a_name(make):
    ours, theirs = make("resnet20", 0, "float32"), make(ARCHITECTURES["resnet20"], 0, "float32")
    assert ours.architecture == theirs.architecture
    assert np.array_equal(ours.images, theirs.images)


def test_files_are_named_by_text_or_path(tmp_path):
    weights = random_weights(NAME, 0, "float32")
    for path in (tmp_path / "a.safetensors", str(tmp_path / "b.safetensors")):
        write_weights(path, NAME, weights)
        for other in (str(path), Path(path)):
            found = read_weights(other, NAME)
            assert all(np.array_equal(found[each], weights[each]) for each in weights)
    assert read_vectors(str(FILE), [NAME]) == read_vectors(FILE, [NAME])


def test_numbers_may_be_of_numpy():
    """`labels.max() + 1` is one."""
    plain = get_architecture(NAME, num_classes=5, in_channels=4, output_stride=2, bn_eps=0.5)
    numpy = get_architecture(
        NAME,
        num_classes=np.int64(5),  # pyright: ignore[reportArgumentType]
        in_channels=np.uint8(4),  # pyright: ignore[reportArgumentType]
        output_stride=np.int32(2),
        bn_eps=np.float32(0.5),
    )
    assert (numpy, resnet_spec.to_json(numpy)) == (plain, resnet_spec.to_json(plain))
    stage = Stage(np.int64(2), np.int64(16))  # pyright: ignore[reportArgumentType]
    row = Architecture("own", "basic", (stage,), zero_init_residual=np.True_)  # pyright: ignore[reportArgumentType]
    assert (type(row.stages[0].blocks), row.zero_init_residual) == (int, True)
    assert type(Recipe(learning_rate=np.float64(0.5)).learning_rate) is float
    classes: Any = np.int64(5)
    assert resnet_torch.resnet20(num_classes=classes).fc.out_features == 5
    assert resnet_keras.resnet20(num_classes=classes).output_shape == (None, 5)
    with pytest.raises(resnet_spec.ArchitectureError, match="num_classes must be an integer"):
        get_architecture(NAME, num_classes=np.float32(5))  # pyright: ignore[reportArgumentType]


def test_the_parts_of_a_row_stay_as_they_were():
    stage, stem = Stage(np.int64(2), 16), resnet_spec.Stem(hidden=(np.int64(8),))  # pyright: ignore[reportArgumentType]
    row = Architecture("own", "basic", (stage,), stem)
    assert (type(stage.blocks), type(stem.hidden[0])) == (np.int64, np.int64)
    assert (type(row.stages[0].blocks), type(row.stem.hidden[0])) == (int, int)
    plain = get_architecture("resnet50", stem=resnet_spec.DEEP_STEM)
    assert plain.stem is resnet_spec.DEEP_STEM


@pytest.mark.parametrize(
    "part", [{"stem": resnet_spec.Stem}, {"se": resnet_spec.SqueezeRatio}, {"stages": (Stage,)}]
)
def test_a_class_is_no_part_of_a_row(part):
    with pytest.raises(resnet_spec.ArchitectureError, match=r"must be a \w+, not type"):
        get_architecture(NAME, **part)


@pytest.mark.parametrize(
    ("given", "meant"), [((-1,), (4,)), ((0, -1), (0, 4)), ([-5, -2], (0, 3)), ((1, 4), (1, 4))]
)
def test_feature_maps_may_be_counted_from_the_last(given, meant):
    assert get_architecture("resnet50", features_only=True, out_indices=given).out_indices == meant
    numbers = np.array(given)
    assert (
        get_architecture("resnet50", features_only=True, out_indices=numbers).out_indices == meant
    )


@pytest.mark.parametrize("indices", [(-6,), (5,), (-1, 0), (4, -1), ()])
def test_other_feature_maps_are_refused(indices):
    with pytest.raises(resnet_spec.ArchitectureError, match=r"some of \(0, 1, 2, 3, 4\)"):
        get_architecture("resnet50", features_only=True, out_indices=indices)


def test_models_are_listed_by_a_pattern():
    assert list_models() == list(ARCHITECTURES)
    assert list_models("*v2*") == [name for name in ARCHITECTURES if "v2" in name]
    assert list_models("resnet[25]0") == ["resnet50", "resnet20"]
    assert list_models("nothing") == []
    for package in (resnet_torch, resnet_keras):
        assert package.list_models is list_models


def test_a_dtype_has_one_name_in_both():
    ours, theirs = (
        framework.create_model(replace(ARCHITECTURES[NAME], name="half"), dtype="float16")
        for framework in (resnet_torch, resnet_keras)
    )
    assert {str(value.dtype) for value in ours.parameters()} == {"torch.float16"}
    assert {value.dtype for value in theirs.variables} == {"float16"}


def test_keras_builds_a_graph_of_a_name():
    image = keras.Input((None, None, 3))
    assert keras.Model(image, resnet_keras.resnet(image, NAME)).output_shape == (None, 10)

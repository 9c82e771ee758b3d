"""A model may stand where a torchvision model stood (docs/coming_from_torchvision.md)."""

from __future__ import annotations

import importlib.util
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.feature_extraction import get_graph_node_names

from resnet_spec import ArchitectureError

import resnet_torch
from parity_tests.support import ALL_NAMES, ROOT, TORCHVISION, light, python
from resnet_parity.probes import random_weights

USER_FILE = Path(__file__).with_name("user_file.py")


def both(name: str, **options) -> tuple[nn.Module, resnet_torch.ResNet]:
    """Torchvision's model and ours, with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(**options).eval()
    ours = resnet_torch.create_model(name, **options).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


@pytest.mark.parametrize("name", light(TORCHVISION, ("resnet18", "resnext50_32x4d")))
def test_modules_attributes_and_graph_are_those_of_torchvision(name):
    with torch.device("meta"):
        theirs, ours = getattr(torchvision.models, name)(), resnet_torch.create_model(name)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.inplanes == theirs.inplanes
    expected = dict(theirs.named_modules())
    # A residual sum is a module, `add`, where torchvision writes an operator.
    found = {path: each for path, each in ours.named_modules() if not path.endswith(".add")}
    assert found.keys() == expected.keys()
    for path, module in expected.items():
        assert type(found[path]).__name__ == type(module).__name__
        for attribute in ("stride", "downsample"):
            own, other = (getattr(each, attribute, "absent") for each in (found[path], module))
            assert own == other or isinstance(other, nn.Module), (path, attribute)
    # The nodes of `create_feature_extractor`; only the image is named otherwise.
    (_, *own), (_, *other) = (get_graph_node_names(model)[1] for model in (ours, theirs))
    assert [node.replace(".add.add", ".add") for node in own] == other


@torch.inference_mode()
@pytest.mark.parametrize("name", light(ALL_NAMES, ("resnet20", "resnetv2_18")))
def test_the_pool_may_be_replaced(name):
    """Flattening belongs to `forward`."""
    torch.manual_seed(0)
    model, images = resnet_torch.create_model(name).eval(), torch.randn(2, 3, 48, 40)
    resnet_torch.set_weights(model, random_weights(name, 0, "float32"))  # keep resnet1202 in range
    expected = model(images)
    body = nn.Sequential(*list(model.children())[:-1])
    assert body(images).shape == (2, model.inplanes, 1, 1)
    for pool in (nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())):
        model.avgpool = pool
        assert torch.equal(model(images), expected)
    model.avgpool = nn.AdaptiveMaxPool2d(1)
    assert not torch.equal(model(images), expected)


@torch.inference_mode()
@pytest.mark.parametrize("name", light(TORCHVISION, ("resnet18",)))
def test_features_and_pyramids_are_those_of_torchvision(name):
    theirs, ours = both(name, num_classes=5)
    images = torch.randn(2, 3, 64, 96)
    for cut in (-1, -2):
        bodies = (nn.Sequential(*list(model.children())[:cut]) for model in (theirs, ours))
        expected, found = (body(images) for body in bodies)
        assert expected.shape[:2] == (2, ours.inplanes)
        assert torch.equal(found, expected)
    pyramids = []
    for model in (theirs, ours):
        torch.manual_seed(1)
        pyramids.append(_resnet_fpn_extractor(model, 3).eval()(images))  # type: ignore[arg-type]
    assert all(map(torch.equal, pyramids[0].values(), pyramids[1].values()))


def test_a_dilated_block_has_the_stride_of_torchvision():
    flags = [False, True, True]
    with torch.device("meta"):
        theirs = torchvision.models.resnet50(replace_stride_with_dilation=flags)
        ours = resnet_torch.resnet50(output_stride=8)
    strides = ([block.stride for block in model.layer3] for model in (theirs, ours))
    assert next(strides) == next(strides) == [1] * 6


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float16", torch.float16),
        ("bfloat16", torch.bfloat16),
        (torch.float64, torch.float64),
        (None, torch.float32),
    ],
)
def test_a_dtype_may_be_a_name(dtype, expected):
    model = resnet_torch.resnet20(dtype=dtype)
    assert {value.dtype for value in model.parameters()} == {expected}


@pytest.mark.parametrize("dtype", ["float17", "mixed_float16", "int8", torch.int8, 16])
def test_another_dtype_is_refused(dtype):
    with pytest.raises(ArchitectureError, match=r"dtype must be a floating-point .*autocast"):
        resnet_torch.resnet20(dtype=dtype)


def test_a_user_file_runs(capsys):
    values = runpy.run_path(str(USER_FILE))
    assert values["channels"] == values["backbone"].inplanes
    assert np.shape(values["labels"]) == (2,)
    assert [each.shape for each in values["maps"]] == [(2, 512, 2, 3)]


@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed")
def test_a_user_file_passes_pyright(tmp_path):
    """In a project of its own; a call that pyright accepts makes its `ignore` an error."""
    text = USER_FILE.read_text(encoding="utf-8")
    ignores = text.count("# pyright: ignore")
    (tmp_path / "user.py").write_text(text, encoding="utf-8")
    (tmp_path / "bare.py").write_text(text.replace("# pyright: ignore", "# "), encoding="utf-8")
    settings = {"extraPaths": [str(ROOT)], "reportUnnecessaryTypeIgnoreComment": "error"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    result = python("-m", "pyright", "--outputjson", "--project", str(tmp_path), cwd=tmp_path)
    found = json.loads(result.stdout)["generalDiagnostics"]
    errors = [each for each in found if each["severity"] == "error"]
    files = [Path(each["file"]).name for each in errors]
    assert files == ["bare.py"] * ignores, errors

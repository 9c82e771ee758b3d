"""The pytest files of `eject --with-tests`: they pass without this project, and notice defects."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from resnet_spec import ARCHITECTURES, get_architecture

from parity_tests.checks.mutants import MUTANTS
from parity_tests.support import ALL_NAMES, SMALL, find
from resnet_parity.eject import FRAMEWORKS, eject
from resnet_parity.eject.pytest_file import pytest_file
from resnet_parity.errors import ParityError

Change = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Defect:
    """A defect of a file: what is replaced in each framework, in the file of which network."""

    name: str
    torch: Change = ()
    keras: Change = ()
    net: str = SMALL.name


def both(name: str, old: str, new: str, net: str = SMALL.name) -> Defect:
    """A defect that is the same text in both frameworks."""
    return Defect(name, ((old, new),), ((old, new),), net)


POOL = 'layers.MaxPooling2D(3, 1, "same", name="maxpool_window")(x)'
ZERO_POOL = "nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, stride=2))"
PAD = 'x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)'

SHARED_IN_TORCH = "x = nn.functional.pad(x, 4 * [1]).unfold(2, 3, 2).unfold(3, 3, 2).amax((4, 5))"
SHARED_IN_KERAS = """cells = [
        x[:, r : r - 2 or None : 2, c : c - 2 or None : 2] for r in range(3) for c in range(3)
    ]
    x = keras.ops.max(keras.ops.stack(cells), axis=0)"""
"""The gradient of `amax` and `max` is shared by all cells that are equal to the maximum."""

DEFECTS = (
    Defect("same padding", keras=((PAD, "pass"), ("use_bias", 'padding="same", use_bias'))),
    both("eps 1e-3", "=1e-5", "=1e-3"),
    both("eps 1.001e-5", "=1e-5", "=1.001e-5"),
    Defect("momentum", (("=0.1", "=0.01"),), (("=0.9", "=0.99"),)),
    Defect(
        "stride on the first 1x1",
        (
            ("in_channels, width, 1", "in_channels, width, 1, stride"),
            ("width, 3, stride", "width, 3"),
        ),
        (("width, 1", "width, 1, stride"), ("width, 3, stride", "width, 3")),
    ),
    Defect(
        "no ReLU after the last block",
        (("return self.relu(x)", "return x"),),
        (("return layers.ReLU", "return layers.Identity"),),
    ),
    Defect(
        "max-pool without padding",
        (("stride=2, padding=1", "stride=2"),),
        (('x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)', "pass"),),
    ),
    Defect(
        "average without the last row",
        (("self.avgpool(x)", "self.avgpool(x[:, :, :-1])"),),
        (('name="avgpool")(x)', 'name="avgpool")(x[:, :-1])'),),
    ),
    Defect(
        "shortcut A pads on both sides",
        (("0, zeros)", "zeros // 2, zeros - zeros // 2)"),),
        (("(0, zeros)", "(zeros // 2, zeros - zeros // 2)"),),
        "zero-padding",
    ),
    both("stride in the last block", "block == 0", "block == blocks - 1", "pooled"),
    Defect(
        "zeros around a max-pool of signed values",
        (("nn.MaxPool2d(3, stride=2, padding=1)", ZERO_POOL),),
        ((POOL, POOL.replace('"same", ', "").replace("(x)", "(layers.ZeroPadding2D(1)(x))")),),
        "preact",
    ),
    Defect(
        "projection of the raw input",
        (("if self.projects:\n            identity = x", "if self.projects:\n            pass"),),
        (("if projects:\n        identity = x", "if projects:\n        pass"),),
        "preact",
    ),
    Defect(
        "gate without its ReLU",
        (("gate = self.relu(gate)", "pass"),),
        (('gate = layers.ReLU(name=f"{name}_relu")(gate)', "pass"),),
        "gated",
    ),
    Defect(
        "gate with a hard sigmoid",
        (("nn.Sigmoid()", "nn.Hardsigmoid()"),),
        (('"sigmoid"', '"hard_sigmoid"'),),
        "gated",
    ),
    Defect(
        "maximum instead of the average",
        (("nn.AvgPool2d", "nn.MaxPool2d"), (", count_include_pad=False", "")),
        (("AveragePooling2D(\n", "MaxPooling2D(\n"),),
        "deep-stem",
    ),
    Defect(
        "deep stem without its inner ReLUs",
        (("nn.ReLU(),", "nn.Identity(),"),),
        (('x = layers.ReLU(name="conv1_1_relu")(x)', "pass"),),
        "deep-stem",
    ),
    Defect(
        "average that loses the last row of an odd size",
        (("ceil_mode=True, ", ""),),
        (('stride, "same", name=f"{name}_downsample', 'stride, name=f"{name}_downsample'),),
        "deep-stem",
    ),
    both(
        "dilated one convolution too early",
        "first_dilation if block == 0 else dilation",
        "dilation",
        "dilated",
    ),
    Defect(
        "ReLU passes every gradient",
        (("return self.relu(x)", "return x + (self.relu(x) - x).detach()"),),
        (
            (
                "layers.ReLU(name=name)(x)",
                "layers.Identity(name=name)(x + keras.ops.stop_gradient(keras.ops.relu(x) - x))",
            ),
        ),
    ),
    Defect(
        "no gradient through the shortcut",
        (("downsample(identity)", "downsample(identity.detach())"),),
        (("[x, identity]", "[x, keras.ops.stop_gradient(identity)]"),),
    ),
    Defect(
        "BN in training mode",
        (("self.bn1(x)", "self.bn1.train()(x)"),),
        (("momentum=0.9, name=name)(x)", "momentum=0.9, name=name)(x, training=True)"),),
    ),
    Defect(
        "bias of a convolution lost",
        (("x = self.conv1(x)", "x = nn.functional.conv2d(x, self.conv1.weight)"),),
        (("kernel_initializer=normal", "kernel_initializer=normal, use_bias=False"),),
        "biased",
    ),
    Defect(
        "gradient of a maximum shared among equals",
        (("x = self.maxpool(x)", SHARED_IN_TORCH),),
        (('x = layers.MaxPooling2D(3, 2, name="maxpool")(x)', SHARED_IN_KERAS),),
    ),
)

_OF_WEIGHTS = "the weights are the probe's, which the tests draw themselves"
_OF_TRAINING = "the tests do not train"
_OF_COPIES = "the tests prepare no copies"
NOT_PLANTED = {
    "height and width of a kernel swapped": _OF_WEIGHTS,
    "two gammas swapped": _OF_WEIGHTS,
    "gamma and beta swapped": _OF_WEIGHTS,
    "one weight off by one ulp": _OF_WEIGHTS,
    "dense kernel not transposed": _OF_WEIGHTS,
    "running variance off by 1e-6": _OF_WEIGHTS,
    "two blocks swapped": _OF_WEIGHTS,
    "batch statistics as constants": _OF_TRAINING,
    "running statistics in training": _OF_TRAINING,
    "folded with the epsilon of Keras' default": _OF_COPIES,
    "folded without scaling the bias": _OF_COPIES,
}
"""Mutants of the checks that no edit of a file corresponds to, with the reason."""

OF_FILES = {"momentum", "average that loses the last row of an odd size"}
"""Defects that are no mutant."""


def test_every_mutant_of_the_checks_is_planted():
    planted = {defect.name for defect in DEFECTS}
    assert {mutant.name for mutant in MUTANTS} - planted == set(NOT_PLANTED)
    assert planted - {mutant.name for mutant in MUTANTS} == OF_FILES


def run_pytest(folder: Path) -> Mapping[str, bool]:
    """Run the tests of a folder, without this project; whether those of each module pass."""
    report = folder / "report.xml"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    arguments = ["-q", "-p", "no:cacheprovider", "--rootdir", str(folder), f"--junitxml={report}"]
    subprocess.run(
        [sys.executable, "-I", "-m", "pytest", *arguments, str(folder)],
        cwd=folder,
        env=environment | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
        capture_output=True,
    )
    passed: dict[str, bool] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        module = case.attrib["classname"].removeprefix("test_")
        is_wrong = case.find("failure") is not None or case.find("error") is not None
        assert case.find("skipped") is None or "norms round" in str(case.find("skipped"))
        passed[module] = passed.get(module, True) and not is_wrong
    return passed


def write(folder: Path, framework: str, module: str, net: str, change: Change = ()) -> None:
    """A file with a change, and the tests of the file without it."""
    arch = find(net)
    text = eject(arch, framework)
    for old, new in change:
        assert old in text, f"{module}: {old}"
        text = text.replace(old, new)
    (folder / f"{module}.py").write_text(text)
    (folder / f"test_{module}.py").write_text(pytest_file(arch, framework, module))


@pytest.mark.parametrize("framework", ["torch", pytest.param("keras", marks=pytest.mark.full)])
def test_they_notice_planted_defects(framework, tmp_path):
    changes = {each: getattr(each, framework) for each in DEFECTS}
    planted = {f"defect{n}": each for n, each in enumerate(DEFECTS) if changes[each]}
    sound = {f"sound{n}": net for n, net in enumerate({each.net: 0 for each in DEFECTS})}
    for module, defect in planted.items():
        write(tmp_path, framework, module, defect.net, changes[defect])
    for module, net in sound.items():
        write(tmp_path, framework, module, net)
    passed = run_pytest(tmp_path)
    assert {module for module in sound if passed[module]} == set(sound)
    assert not [defect.name for module, defect in planted.items() if passed[module]]


@pytest.mark.full
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("part", range(4))
def test_they_pass_for_every_row(framework, part, tmp_path):
    for name in ALL_NAMES[part::4]:
        write(tmp_path, framework, name, name)
    assert all(run_pytest(tmp_path).values())


def test_they_hold_the_hashes_of_the_conformance_vectors():
    text = pytest_file(get_architecture("resnet18"), "torch", "net")
    assert "04e4da3105975d0df1bb7e458dae9b2d" in text


def test_networks_without_them_are_refused():
    with pytest.raises(ParityError, match="leave --features out"):
        pytest_file(get_architecture("resnet18", features_only=True), "torch", "net")
    with pytest.raises(ParityError, match="cannot be imported"):
        pytest_file(ARCHITECTURES["resnet18"], "torch", "resnet-18")

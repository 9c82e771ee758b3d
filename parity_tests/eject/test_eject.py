"""Ejected files: what they compute without this project, how they read, what they load."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from resnet_spec import (
    ARCHITECTURES,
    Architecture,
    Stage,
    get_architecture,
    make_plan,
    to_json,
)

import resnet_keras
import resnet_torch
from parity_tests.checks.combinations import architectures
from parity_tests.spec.test_imports import names_in
from parity_tests.support import (
    ALL_NAMES,
    EVERYTHING,
    KINDS,
    TINY,
    USERS,
    find,
    with_random_statistics,
)
from resnet_parity import cli
from resnet_parity.eject import FRAMEWORKS, eject
from resnet_parity.eject.proof import EjectError, proven
from resnet_parity.eject.pytest_file import pytest_file
from resnet_parity.site.definitions import key

WORKER = Path(__file__).with_name("worker.py")

SPREAD = (
    *("plain20", "resnet20", "resnet18", "seresnet18", "resnet18d"),
    "resnetv2_18_small",
)
"""Rows that are quickly built; with `POOLED` they cover most options of the registry."""

POOLED = replace(
    get_architecture("keras_resnet50v2"), name="pooled", stages=(Stage(2, 16, 2), Stage(2, 32))
)
"""Blocks, strides, biases and numbers of Keras Applications v2."""

OPTIONS = (
    get_architecture("resnet18", features_only=True),
    get_architecture("resnet20", features_only=True, out_indices=(1, 3)),
    get_architecture("resnetv2_18_small", features_only=True, out_indices=(0,)),
    get_architecture("resnet18d", output_stride=8, num_classes=0, in_channels=1),
    replace(get_architecture("resnet50"), name="zero", zero_init_residual=True, output_stride=8),
    replace(get_architecture("resnetv2_18"), name="zero-kernel", zero_init_residual=True),
)
"""Backbones, dilation, and what no row has."""

BIG = tuple(ARCHITECTURES[name] for name in ALL_NAMES if name not in SPREAD)


def compute(
    framework: str, tasks: dict[str, dict[str, str]], *, alone: bool, backend: str = "tensorflow"
) -> dict[str, dict[str, Any]]:
    """Run networks in a process of its own, where this project cannot be imported if `alone`."""
    given = {"framework": framework, "alone": alone, "tasks": tasks}
    ran = subprocess.run(
        [sys.executable, *(["-I"] if alone else []), str(WORKER)],
        input=json.dumps(given),
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(line) for line in ran.stdout.splitlines())


def file_tasks(framework: str, archs: Sequence[Architecture], folder: Path) -> dict[str, Any]:
    """Write the files of these architectures; the tasks for the process that runs them."""
    tasks = {}
    for arch in archs:
        path = folder / f"network{len(tasks)}.py"
        path.write_text(eject(arch, framework))
        tasks[arch.name] = {"file": str(path), "channels": str(arch.in_channels)}
    return tasks


def check_same(
    framework: str, archs: Sequence[Architecture], folder: Path, backend: str = "tensorflow"
) -> None:
    """The files compute what this project does, every line of them runs, and layers are alike."""
    specs = {a.name: {"spec": to_json(a), "channels": str(a.in_channels)} for a in archs}
    ours = compute(framework, specs, alone=False, backend=backend)
    files = file_tasks(framework, archs, folder)
    theirs = compute(framework, files, alone=True, backend=backend)
    assert set(ours) == set(theirs) == {arch.name for arch in archs}
    for name, wanted in ours.items():
        differing = [key for key in wanted if wanted[key] != theirs[name][key]]
        assert not differing, f"{name}: {differing}"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_files_compute_what_this_project_does(framework, tmp_path):
    check_same(
        framework, [*map(get_architecture, SPREAD), POOLED, *USERS[2:], OPTIONS[1]], tmp_path
    )


@pytest.mark.full
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("part", range(8))
def test_files_of_all_other_rows_compute_what_this_project_does(framework, part, tmp_path):
    check_same(framework, BIG[part::8], tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_files_of_other_architectures_compute_what_this_project_does(framework, tmp_path):
    check_same(framework, [TINY, EVERYTHING, *USERS, *OPTIONS], tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_files_compute_the_same_on_other_backends_of_keras(backend, tmp_path):
    check_same("keras", [ARCHITECTURES[name] for name in SPREAD], tmp_path, backend)


def random_architectures(count: int) -> list[Architecture]:
    """Architectures drawn by Hypothesis, the same ones in every run."""
    found: dict[str, Architecture] = {}

    @settings(
        max_examples=2 * count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(architectures())
    def draw(arch: Architecture) -> None:
        found[arch.name] = arch

    draw()
    return list(found.values())[-count:]


@pytest.mark.full
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_files_of_random_architectures_compute_what_this_project_does(framework, tmp_path):
    check_same(framework, random_architectures(20), tmp_path)


def test_the_process_cannot_import_this_project(tmp_path):
    (tmp_path / "net.py").write_text("import resnet_spec\n")
    tasks = {"net": {"file": str(tmp_path / "net.py"), "channels": "3"}}
    with pytest.raises(AssertionError, match="resnet_spec is forbidden here"):
        compute("torch", tasks, alone=True)


ALLOWED = {"torch": {"torch", "numpy"}, "keras": {"keras", "numpy", "tensorflow"}}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_files_import_their_framework_alone(framework):
    texts = [eject(name, framework, loader=True) for name in ALL_NAMES]
    texts += [pytest_file(arch, framework, "net") for arch in (TINY, EVERYTHING)]
    for text in texts:
        nodes = [node for each in ast.walk(ast.parse(text)) for node in names_in(each)]
        names = {name.partition(".")[0] for name in nodes} - sys.stdlib_module_names
        assert names <= ALLOWED[framework] | {"net", "pytest"}


DEFECTS = {
    "epsilon": ("1e-5", "1e-3"),
    "momentum": ("momentum=0.", "momentum=0.0"),
    "pool": ("stride=2, padding=1", "stride=2, padding=1, ceil_mode=True"),
    "shortcut": ("x = x + self", "x = x - self"),
    "activation": ("return self.relu(x)", "return x"),
    "initial weights": ("fan_out", "fan_in"),
    "idle line": ("        identity = x", "        identity = x\n        if not self: x = -x"),
}


def test_defects_in_a_file_are_found(tmp_path):
    """The comparison sees a change of each kind, and lines that never run."""
    text = eject(TINY, "torch")
    tasks = {"none": {"file": str(tmp_path / "none.py"), "channels": "3"}}
    (tmp_path / "none.py").write_text(text)
    for number, (name, change) in enumerate(DEFECTS.items()):
        assert change[0] in text, name
        path = tmp_path / f"defect{number}.py"
        path.write_text(text.replace(*change).replace("not self: x", "not self:\n            x"))
        tasks[name] = {"file": str(path), "channels": "3"}
    found = compute("torch", tasks, alone=True)
    sound = found.pop("none")
    assert not [name for name, result in found.items() if result == sound]
    assert found["idle line"]["lines not run"]


@pytest.mark.parametrize(
    ("framework", "net", "old", "new", "message"),
    [
        ("torch", "deep-stem", "ceil_mode=True, ", "", "cannot run: The size"),
        ("torch", "tiny", "=0.1", "=0.2", "another bn1.running_mean after training"),
        ("torch", "tiny", "fan_out", "fan_in", "another initial value of conv1.weight"),
        ("torch", "tiny", "self.fc(x)", "self.fc(nn.Dropout()(x))", "another logits"),
        ("torch", "tiny", "return self.relu(x)", "return x", "another gradient|another logits"),
        ("keras", "tiny", "=0.9", "=0.8", "another bn1.running_mean after training"),
        ("keras", "tiny", "fan_out", "fan_in", "another initial value of conv1.weight"),
        (
            "keras",
            "tiny",
            '"avgpool")',
            '"avgpool")(x)\n    x = layers.Dropout(0.5)',
            "in training",
        ),
    ],
)
def test_the_check_of_the_command_notices(framework, net, old, new, message):
    arch = TINY if net == "tiny" else find(net)
    text = eject(arch, framework)
    assert old in text
    with pytest.raises(EjectError, match=message):
        proven(text.replace(old, new), arch, framework)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_files_are_short(framework):
    checked = "with its versions " * 9  # as long as the sentence that the command writes
    lengths = {n: len(eject(n, framework, checked=checked).splitlines()) for n in ALL_NAMES}
    assert lengths["resnet50"] <= 120
    assert max(lengths.values()) <= 150


@pytest.mark.parametrize("name", [*SPREAD, "resnet50", "resnetv2_50d"])
def test_both_files_have_the_same_parts_constants_and_remarks(name):
    files = [eject(name, framework) for framework in FRAMEWORKS]
    ours, theirs = (
        {
            "parts": [key(x) for x in re.findall(r"^(?:class|def) (\w+)", text, re.MULTILINE)],
            "constants": re.findall(r"^    (\(.*\)),  #", text, re.MULTILINE),
            "remarks": re.findall(r"^ *# .*\bKeras\b.*", text, re.MULTILINE),
        }
        for text in files
    )
    assert ours["parts"] == theirs["parts"]
    assert ours["constants"] == theirs["constants"]
    assert sorted(map(str.strip, ours["remarks"])) == sorted(map(str.strip, theirs["remarks"]))


ALL_RULES = "E,F,W,I,B,UP,SIM,C4,PIE,RET,RUF,PTH,N"


@pytest.mark.skipif(shutil.which("ruff") is None, reason="ruff is not installed")
def test_files_are_formatted_and_have_no_lint(tmp_path):
    own = [TINY, EVERYTHING, *KINDS, *USERS, *OPTIONS]
    archs = [*ARCHITECTURES.values(), *own, *random_architectures(20)]
    for arch in archs:
        for framework in FRAMEWORKS:
            module = f"{arch.name}_{framework}".replace("-", "_")
            text = eject(arch, framework, loader=arch in archs[::2])
            (tmp_path / f"{module}.py").write_text(text)
            if arch in (TINY, EVERYTHING, *KINDS, *USERS):
                (tmp_path / f"test_{module}.py").write_text(pytest_file(arch, framework, module))
    rules = ("--select", ALL_RULES, "--config", "line-length = 88")
    for arguments in (("format", "--check"), ("check", *rules)):
        command = ["ruff", *arguments, "--isolated", "--no-cache", str(tmp_path)]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout


@pytest.mark.full
@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_files_of_pytorch_pass_pyright_in_strict_mode(tmp_path):
    for arch in [*map(get_architecture, SPREAD), EVERYTHING, *USERS, *OPTIONS]:
        (tmp_path / f"{arch.name}.py").write_text(eject(arch, "torch"))
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = ["pyright", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def run_file(text: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "ejected"}
    exec(compile(text, "ejected", "exec"), namespace)
    return namespace


def test_state_dicts_of_torchvision_and_timm_load_strictly():
    timm, torchvision = pytest.importorskip("timm"), pytest.importorskip("torchvision")
    theirs = {
        "resnet18": torchvision.models.resnet18(),
        "seresnet18": timm.create_model("seresnet18"),
        "resnet18d": timm.create_model("resnet18d"),
    }
    image = torch.linspace(-1, 1, 3 * 64 * 65).reshape(1, 3, 64, 65)
    for name, model in theirs.items():
        ours = run_file(eject(name, "torch"))["ResNet"]()
        ours.load_state_dict(model.state_dict(), strict=True)
        assert torch.equal(ours.eval()(image), model.eval()(image)), name


def header(text: str) -> str:
    found = ast.get_docstring(ast.parse(text))
    assert found
    return found


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("classes", ["10", "0"])
def test_the_lines_on_weights_in_the_header_run(framework, classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = run_file(eject("resnet20", "torch"))["ResNet"]()
    torch.save(source.state_dict(), "net.ckpt")
    text = eject(get_architecture("resnet20", num_classes=int(classes)), framework)
    command, lines = re.findall(r"\n    # resnet-parity (.*)\n((?:    .*(?:\n|$))+)", header(text))[
        0
    ]
    command = command.replace("CHECKPOINT", "net.ckpt --architecture resnet20 --no-prove")
    assert cli.main(command.split()) == 0
    namespace = run_file(text)
    exec(textwrap.dedent(lines), namespace)
    package = {"torch": resnet_torch, "keras": resnet_keras}[framework]
    wanted = resnet_torch.get_weights(source, "resnet20")
    arch = get_architecture("resnet20", num_classes=int(classes))
    found = package.get_weights(namespace["model"], arch)
    assert len(found) == len(wanted) - 2 * (classes == "0")
    assert not [name for name, array in found.items() if (array != wanted[name]).any()]


LIKE_RESNET50 = replace(get_architecture("resnet50"), avg_down=True)


@pytest.mark.parametrize(
    ("arch", "sentence"),
    [
        (get_architecture("resnet50"), "the names of torchvision."),
        (get_architecture("resnet50", output_stride=8), "the names of torchvision."),
        (get_architecture("resnet50", num_classes=10), "torchvision; fc has another shape."),
        (get_architecture("resnet50", num_classes=0), "torchvision but for those of fc, which it"),
        (get_architecture("resnet18", features_only=True), "torchvision but for those of fc, "),
        (
            get_architecture("resnet50d", num_classes=10, in_channels=1),
            "the names of timm; conv1.0 and fc have another shape.",
        ),
        (LIKE_RESNET50, "names such as layer1.0.conv1.weight."),
        (get_architecture("resnet20"), "names such as layer1.0.conv1.weight."),
    ],
)
def test_the_header_says_whose_names_the_tensors_have(arch, sentence):
    assert sentence in header(eject(arch, "torch")).replace("\n", " ")


def test_the_loader_copies_a_state_dict_of_pytorch_and_back():
    model = with_random_statistics(run_file(eject("seresnet18", "torch"))["ResNet"]())
    state = model.state_dict()
    file = run_file(eject("seresnet18", "keras", loader=True))
    keras_model = file["resnet"]()
    file["load_state_dict"](keras_model, state)
    for name, array in resnet_keras.get_weights(keras_model, "seresnet18").items():
        assert (array == state[name].numpy()).all(), name
    back = {name: torch.from_numpy(each) for name, each in file["state_dict"](keras_model).items()}
    run_file(eject("seresnet18", "torch"))["ResNet"]().load_state_dict(back, strict=True)
    assert all((each == state[name]).all() for name, each in back.items())


@pytest.mark.parametrize(
    "change", [{"fc.bias": torch.zeros(3)}, {"fc2.bias": torch.zeros(1)}, {"fc.bias": None}]
)
def test_the_loader_copies_nothing_of_a_state_dict_that_does_not_fit(change):
    state = with_random_statistics(run_file(eject(TINY, "torch"))["ResNet"]()).state_dict()
    file = run_file(eject(TINY, "keras", loader=True))
    model = file["resnet"]()
    before = file["state_dict"](model)
    changed = {name: each for name, each in (state | change).items() if each is not None}
    with pytest.raises(ValueError, match=re.escape(str([*change]))):
        file["load_state_dict"](model, changed)
    assert all((each == before[name]).all() for name, each in file["state_dict"](model).items())


def test_the_loader_takes_bfloat16_and_parameters():
    model = run_file(eject(TINY, "torch"))["ResNet"]().bfloat16()
    file = run_file(eject(TINY, "keras", loader=True))
    keras_model = file["resnet"]()
    file["load_state_dict"](keras_model, model.state_dict(keep_vars=True))
    found = file["state_dict"](keras_model)
    assert (found["fc.weight"] == model.fc.weight.detach().float().numpy()).all()


def test_the_keras_file_is_read_as_its_architecture():
    model = run_file(eject("resnet18d", "keras"))["resnet"]()
    arch = resnet_keras.architecture_of(model)
    assert make_plan(arch) == make_plan("resnet18d")


def test_a_source_with_quotes_stays_a_text():
    """The source of an architecture may come from a file of anyone."""
    arch = replace(TINY, source='"""\nraise SystemExit\n"""\\')
    for framework in FRAMEWORKS:
        assert "raise SystemExit" in header(eject(arch, framework))


def test_a_source_with_control_characters_is_written_with_spaces():
    arch = replace(TINY, source="a\tb\x00c\\d")
    assert "\nSource: a b c d.\n" in header(eject(arch, "torch"))


def test_the_header_names_the_loader():
    assert "`load_state_dict` copies" in header(eject("resnet18", "keras", loader=True))
    assert "load_state_dict" not in header(eject("resnet18", "keras"))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_header_says_whether_the_file_was_checked(framework):
    assert "\nNot checked here: " in header(eject(TINY, framework))
    checked = header(eject(TINY, framework, checked="Checked with care."))
    assert "\nChecked with care.\n" in checked and "Not checked" not in checked
